/** Measures both connections once per second. */

import { between, sample } from "./figures.js";

/** @typedef {import("./figures.js").Figures} Figures */
/** @typedef {import("./figures.js").Sample} Sample */

/** Without a new picture for this time, the output is considered frozen. */
const STILL = 10_000;
/** The time that rates and delays are taken over: several pictures, even if there is one per second. */
const WINDOW = 5000;

export class Figuring {
  /** The samples of the last seconds, the oldest first.
   * @type {Sample[]} */
  #samples = [];
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
    const seen = () => {
      show();
      output.requestVideoFrameCallback(seen);
    };
    if ("requestVideoFrameCallback" in output) output.requestVideoFrameCallback(seen);
    else /** @type {HTMLVideoElement} */ (output).addEventListener("timeupdate", show);
  }

  reset() {
    this.#samples = [];
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
    return this.add(sample(sent?.values() ?? [], received?.values() ?? [], performance.now()), status);
  }

  /**
   * Adds a sample, and returns the figures of the last seconds.
   *
   * @param {Sample} now
   * @param {any} status
   * @returns {Figures & {latency?: number}}
   */
  add(now, status) {
    const before = this.#samples.at(-1);
    this.#samples = [...this.#samples.filter(({ at }) => at >= now.at - WINDOW), now];
    const [first] = this.#samples;
    if (!before || !first || first === now) return {};
    const figures = between(first, now);
    return { ...figures, lost: between(before, now).lost, latency: this.#latency(figures, status) };
  }

  /**
   * From a frame of the source to its picture on the screen: to the server, inside, and back to the screen.
   *
   * @param {Figures} figures
   * @param {any} status
   */
  #latency({ network }, status) {
    const inside = status?.inference_status?.latency_ms;
    return this.flows && typeof inside === "number" && network !== undefined ? inside + network : undefined;
  }
}
