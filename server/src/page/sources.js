/** Sources of frames: the demo clip, a camera, a screen, or a file. */

/**
 * @typedef {object} Source
 * @property {"demo" | "camera" | "screen" | "file"} kind
 * @property {MediaStream} stream  The video that is sent and shown.
 * @property {string} label
 * @property {() => void} stop
 * @property {(ended: () => void) => void} onended  Called when it ends by itself.
 * @property {(wanted: Wanted) => void} want  Limits the frames to those that the server uses.
 *
 * @typedef {object} Wanted  The frames that the server uses, by its status.
 * @property {number} frame_rate
 * @property {number} width
 * @property {number} height
 */

const RATE = 30;

/**
 * Returns the available sources, and why the camera is not among them.
 *
 * @param {MediaDevices | undefined} devices
 * @param {boolean} secure
 */
export function available(devices, secure) {
  const camera = typeof devices?.getUserMedia === "function";
  const screen = typeof devices?.getDisplayMedia === "function";
  const note = camera || secure ? "" : "Camera and screen need https, or the page opened as localhost.";
  return { camera, screen, note };
}

/**
 * @param {MediaTrackConstraints} video
 * @returns {Promise<Source>}
 */
export async function camera(video) {
  return ofTrack("camera", await navigator.mediaDevices.getUserMedia({ video, audio: false }));
}

/** @returns {Promise<Source>} */
export async function screen() {
  const video = { frameRate: { ideal: RATE, max: RATE }, width: { max: 1280 }, height: { max: 1280 } };
  return ofTrack("screen", await navigator.mediaDevices.getDisplayMedia({ video, audio: false }));
}

/**
 * @param {"camera" | "screen"} kind
 * @param {MediaStream} stream
 * @returns {Source}
 */
function ofTrack(kind, stream) {
  const [track] = stream.getVideoTracks();
  return {
    kind,
    stream,
    label: track?.label || kind,
    stop: () => stream.getTracks().forEach((one) => one.stop()),
    onended: (ended) => track?.addEventListener("ended", ended),
    // The encoder of the connection scales and thins out what a device delivers.
    want: () => {},
  };
}

/**
 * Plays the clip that is embedded in the server.
 *
 * @param {string} url
 * @param {() => {width: number, height: number}} size
 * @returns {Promise<Source>}
 */
export async function demo(url, size) {
  const response = await fetch(url);
  if (!response.ok) throw new TypeError(`no clip (status ${response.status})`);
  return ofVideo("demo", await response.blob(), "Big Buck Bunny © Blender Foundation, CC BY 3.0", size);
}

/**
 * Plays a video in a loop, or shows a picture.
 *
 * @param {File} chosen
 * @param {() => {width: number, height: number}} size
 * @returns {Promise<Source>}
 */
export async function file(chosen, size) {
  if (!chosen.type.startsWith("image/")) return ofVideo("file", chosen, chosen.name, size);
  const bitmap = await createImageBitmap(chosen);
  const painter = new Painter(size);
  const draw = () => painter.draw(bitmap, bitmap.width, bitmap.height, performance.now());
  draw();
  // An unchanged canvas sends no frames.
  const timer = setInterval(draw, 1000 / 15);
  return painted("file", painter, chosen.name, () => {
    clearInterval(timer);
    bitmap.close();
  });
}

/**
 * @param {"demo" | "file"} kind
 * @param {Blob} blob
 * @param {string} label
 * @param {() => {width: number, height: number}} size
 * @returns {Promise<Source>}
 */
async function ofVideo(kind, blob, label, size) {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, loop: true, playsInline: true, src: URL.createObjectURL(blob) });
  const painter = new Painter(size);
  const stop = () => {
    video.pause();
    URL.revokeObjectURL(video.src);
    video.removeAttribute("src");
  };
  try {
    await video.play();
  } catch (error) {
    stop();
    throw error;
  }
  let going = true;
  const draw = (now = performance.now()) => {
    if (!going) return;
    painter.draw(video, video.videoWidth, video.videoHeight, now);
    if ("requestVideoFrameCallback" in video) video.requestVideoFrameCallback(draw);
    else requestAnimationFrame(draw);
  };
  draw();
  return painted(kind, painter, label, () => {
    going = false;
    stop();
  });
}

/**
 * @param {"demo" | "file"} kind
 * @param {Painter} painter
 * @param {string} label
 * @param {() => void} stop
 * @returns {Source}
 */
function painted(kind, painter, label, stop) {
  const stream = painter.canvas.captureStream(RATE);
  return {
    kind,
    stream,
    label,
    stop: () => {
      stop();
      stream.getTracks().forEach((track) => track.stop());
    },
    onended: () => {},
    want: (wanted) => painter.want(wanted),
  };
}

/** The part of a frame's time by which a frame may be early: sources do not keep exact time. */
const EARLY = 0.2;

/** Draws frames at the size of the stream, cropped to their centre if the aspect ratio differs. */
export class Painter {
  canvas = document.createElement("canvas");
  #context = this.canvas.getContext("2d", { alpha: false });
  /** @type {Wanted | undefined} */
  #wanted;
  #due = 0;

  /** @param {() => {width: number, height: number}} size */
  constructor(size) {
    this.size = size;
    this.#fit();
  }

  #fit() {
    const { width, height } = this.#wanted ?? this.size();
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
  }

  /**
   * Limits the size and the rate: a frame that is not drawn is neither encoded nor sent.
   *
   * @param {Wanted} wanted
   */
  want(wanted) {
    this.#wanted = wanted;
  }

  /**
   * @param {CanvasImageSource} image
   * @param {number} width
   * @param {number} height
   * @param {number} now  Milliseconds.
   */
  draw(image, width, height, now) {
    const interval = 1000 / Math.min(RATE, this.#wanted?.frame_rate ?? RATE);
    if (!width || !height || now < this.#due - interval * EARLY) return;
    // The mean rate is kept even if frames come at other times.
    this.#due = Math.max(this.#due + interval, now);
    this.#fit();
    const { x, y, w, h } = middle(width, height, this.canvas.width / this.canvas.height);
    this.#context?.drawImage(image, x, y, w, h, 0, 0, this.canvas.width, this.canvas.height);
  }
}

/**
 * Returns the largest centred part of a picture with an aspect ratio.
 *
 * @param {number} width
 * @param {number} height
 * @param {number} shape  Width divided by height.
 */
export function middle(width, height, shape) {
  const w = Math.min(width, height * shape);
  const h = Math.min(height, width / shape);
  return { x: (width - w) / 2, y: (height - h) / 2, w, h };
}
