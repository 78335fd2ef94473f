/** Computes rates and latency from counters of the browser and the server's status. */

/**
 * @typedef {object} Sample  Counters at one moment.
 * @property {number} at          Milliseconds.
 * @property {number} [sent]      Frames encoded and sent.
 * @property {number} [encoding]  Seconds spent on encoding them.
 * @property {number} [shown]     Frames of the output decoded.
 * @property {number} [decoding]  Seconds spent on decoding them.
 * @property {number} [waiting]   Seconds that frames waited in the jitter buffer.
 * @property {number} [waited]    The number of those frames.
 * @property {number} [lost]      Packets lost, both ways.
 * @property {number} [trip]      Round trip time in seconds.
 *
 * @typedef {object} Figures
 * @property {number} [fpsIn]
 * @property {number} [fpsOut]
 * @property {number} [lost]      Packets lost since the last sample.
 * @property {number} [network]   Milliseconds for coding and the round trip.
 */

/**
 * Reads the counters of both connections.
 *
 * @param {Iterable<any>} sending
 * @param {Iterable<any>} receiving
 * @param {number} at
 * @returns {Sample}
 */
export function sample(sending, receiving, at) {
  /** @type {Sample} */
  const out = { at };
  for (const report of sending) {
    if (report.type === "outbound-rtp" && report.kind === "video") {
      Object.assign(out, { sent: report.framesEncoded, encoding: report.totalEncodeTime });
    }
    if (report.type === "remote-inbound-rtp") out.lost = (out.lost ?? 0) + (report.packetsLost ?? 0);
    if (report.type === "candidate-pair" && report.nominated) out.trip = report.currentRoundTripTime;
  }
  for (const report of receiving) {
    if (report.type !== "inbound-rtp" || report.kind !== "video") continue;
    out.shown = report.framesDecoded;
    out.decoding = report.totalDecodeTime;
    out.waiting = report.jitterBufferDelay;
    out.waited = report.jitterBufferEmittedCount;
    out.lost = (out.lost ?? 0) + (report.packetsLost ?? 0);
  }
  return out;
}

/**
 * Returns the differences between two samples.
 *
 * @param {Sample} before
 * @param {Sample} now
 * @returns {Figures}
 */
export function between(before, now) {
  const seconds = (now.at - before.at) / 1000;
  const sent = grown(before.sent, now.sent);
  const shown = grown(before.shown, now.shown);
  if (!(seconds > 0)) return {};
  const encode = each(grown(before.encoding, now.encoding), sent);
  const decode = each(grown(before.decoding, now.decoding), shown);
  const wait = each(grown(before.waiting, now.waiting), grown(before.waited, now.waited));
  return {
    fpsIn: sent === undefined ? undefined : sent / seconds,
    fpsOut: shown === undefined ? undefined : shown / seconds,
    lost: grown(before.lost, now.lost),
    network: now.trip === undefined ? undefined : (encode + now.trip + wait + decode) * 1000,
  };
}

/**
 * A counter that was reset, by a new connection, has not grown.
 *
 * @param {number | undefined} before
 * @param {number | undefined} now
 */
function grown(before, now) {
  return before === undefined || now === undefined || now < before ? undefined : now - before;
}

/**
 * @param {number | undefined} sum
 * @param {number | undefined} count
 */
function each(sum, count) {
  return sum !== undefined && count ? sum / count : 0;
}

/**
 * Describes the state of a live stream.
 *
 * @param {any} status  `data` of the status route.
 * @returns {{tone: "busy" | "good" | "weak" | "bad", text: string, detail: string}}
 */
export function stateInWords(status) {
  const error = status?.inference_status?.last_error;
  const progress = status?.inference_status?.loading_progress;
  const loaded = typeof progress === "number" ? `${progress} % are loaded. ` : "";
  // Before the first picture, the server's placeholder is shown.
  const isFirst = status?.inference_status?.last_output_time === null && status.state !== "ERROR" && status.state !== "OFFLINE";
  switch (isFirst ? "LOADING" : status?.state) {
    case "ONLINE":
      return { tone: "good", text: "Live", detail: loaded.trim() };
    case "LOADING":
      return { tone: "busy", text: "Loading the model", detail: `${loaded}The first pictures follow in a moment.` };
    case "DEGRADED_INPUT":
      return { tone: "weak", text: "Live, few frames in", detail: "The source sends fewer than 15 frames a second." };
    case "DEGRADED_INFERENCE":
      return { tone: "weak", text: "Live, behind the source", detail: error ?? "This machine makes fewer pictures than frames come in." };
    case "ERROR":
      return { tone: "bad", text: "The model failed", detail: error ?? "See the server's log." };
    default:
      return { tone: "busy", text: "Connecting", detail: "" };
  }
}

/** Errors of the server that the state does not show: settings that were accepted, and failed when they were loaded. */
export class Failures {
  /** The server's time of the last error that was shown, or of the first look. @type {number | undefined} */
  #seen;

  /**
   * Returns the server's error if it is new; the state shows why there are no pictures at all.
   *
   * @param {any} status  `data` of the status route.
   * @returns {string | undefined}
   */
  next(status) {
    const { last_error: error, last_error_time: at } = status?.inference_status ?? {};
    this.#seen ??= status?.timestamp;
    if (!error || this.#seen === undefined || !(at > this.#seen)) return undefined;
    this.#seen = at;
    return status.state === "ERROR" ? undefined : error;
  }
}
