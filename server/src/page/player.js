/**
 * The player: shows the output of one stream, named by `?v=<playback id>` or by the page's own path, and reconnects
 * automatically. `autoplay` and `muted` are read from the address; the latency cannot be chosen.
 */

import { Api } from "./api.js";
import { byId } from "./dom.js";
import { Link, preferH264 } from "./link.js";

const video = byId("video", HTMLVideoElement);
const play = byId("play", HTMLButtonElement);
const sound = byId("sound", HTMLButtonElement);
const api = new Api(new URL(".", location.href).href);
const asked = new URLSearchParams(location.search);

/** Returns the address to play the stream from. */
function endpoint() {
  const id = asked.get("v");
  const name = location.pathname.split("/").at(-1) ?? "";
  const path = id ? `webrtc/${encodeURIComponent(id)}` : `live/video-to-video/${name}/whep`;
  return new URL(path, api.base).href;
}

/**
 * @param {string} text
 * @param {string} [detail]
 */
function say(text, detail = "") {
  byId("words", HTMLElement).hidden = text === "";
  byId("text", HTMLElement).textContent = text;
  byId("detail", HTMLElement).textContent = detail;
}

/** Whether a flag is set in the address: `?muted`, `?muted=true`, `?muted=1`. */
function flag(/** @type {string} */ name) {
  const value = asked.get(name);
  return value !== null && value !== "false" && value !== "0";
}

async function start() {
  play.hidden = true;
  try {
    await video.play();
  } catch {
    // Browsers allow autoplay only without sound.
    if (video.muted) return offer();
    video.muted = true;
    await video.play().catch(offer);
  }
  sound.hidden = !video.muted || !hasSound();
}

function offer() {
  play.hidden = false;
}

function hasSound() {
  return video.srcObject instanceof MediaStream && video.srcObject.getAudioTracks().length > 0;
}

const stream = new MediaStream();
const link = new Link({
  endpoint,
  resolve: (location) => api.here(location),
  headers: () => api.headers,
  prepare: (peer) => {
    stream.getTracks().forEach((track) => stream.removeTrack(track));
    preferH264(peer.addTransceiver("video", { direction: "recvonly" }), RTCRtpReceiver.getCapabilities("video"));
    peer.addTransceiver("audio", { direction: "recvonly" });
    peer.addEventListener("track", ({ track }) => {
      // A section without sound also has a track; it is used once data arrives.
      if (track.kind === "audio") track.addEventListener("unmute", () => stream.addTrack(track), { once: true });
      else stream.addTrack(track);
    });
  },
  changed: ({ name, problem }) => {
    if (name === "connecting") say("Connecting");
    if (name === "connected") say("");
    if (name !== "waiting" || !problem) return;
    if (problem.kind === "missing") say("There is no such stream.", "Check the address; retrying.");
    else say(problem.text, problem.advice);
  },
});

video.srcObject = stream;
video.muted = flag("muted");
play.addEventListener("click", () => void start());
sound.addEventListener("click", () => {
  video.muted = false;
  sound.hidden = true;
});
addEventListener("pagehide", () => link.abandon());
link.start();
if (flag("autoplay") || asked.get("v") === null) void start();
else offer();
