/** Measures both connections once per second. */

import { between, Median, sample } from "./figures.js";

/** @typedef {import("./figures.js").Figures} Figures */
/** @typedef {import("./figures.js").Sample} Sample */

/** Without a new picture for this time, the output is considered frozen. */
const STILL = 10_000;

export class Figuring {
  /** @type {Sample | undefined} */
  #before;
  /** Milliseconds from the server's receiving a frame to the display of its picture. */
  #delays = new Median(45);
  #shownAt = -Infinity;

  /**
   * @param {HTMLVideoElement} output
   * @param {() => void} began  Called with the first picture after none came.
   */
  constructor(output, began) {
    const show = () => {
      const still = !this.flows;
      this.#shownAt = performance.now();
      if (still) began();
    };
    const seen = (/** @type {number} */ _now, /** @type {VideoFrameCallbackMetadata} */ frame) => {
      show();
      // The capture time of the frame by this computer's clock, if the browser reports it.
      if (frame.captureTime !== undefined) this.#delays.add(frame.expectedDisplayTime - frame.captureTime);
      output.requestVideoFrameCallback(seen);
    };
    if ("requestVideoFrameCallback" in output) output.requestVideoFrameCallback(seen);
    else /** @type {HTMLVideoElement} */ (output).addEventListener("timeupdate", show);
  }

  reset() {
    this.#before = undefined;
    this.#delays.clear();
    this.#shownAt = -Infinity;
  }

  /** Whether pictures arrive. */
  get flows() {
    return performance.now() - this.#shownAt < STILL;
  }

  /**
   * @param {RTCPeerConnection | undefined} up
   * @param {RTCPeerConnection | undefined} down
   * @param {any} status  The server's status, if it responded.
   * @returns {Promise<Figures & {latency?: number}>}
   */
  async take(up, down, status) {
    const [sent, received] = await Promise.all([up?.getStats(), down?.getStats()]);
    const now = sample(sent?.values() ?? [], received?.values() ?? [], performance.now());
    const figures = this.#before ? between(this.#before, now) : {};
    this.#before = now;
    return { ...figures, latency: this.#latency(figures, status) };
  }

  /**
   * From a frame of the source to its picture on the screen.
   *
   * @param {Figures} figures
   * @param {any} status
   */
  #latency({ uplink, network }, status) {
    if (!this.flows) return undefined;
    const delay = this.#delays.value;
    if (delay !== undefined && delay > 0 && uplink !== undefined) return delay + uplink;
    const inside = status?.inference_status?.latency_ms;
    return typeof inside === "number" && network !== undefined ? inside + network : undefined;
  }
}
