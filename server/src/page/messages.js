/** Error messages with advice. */

/** @typedef {import("./types.js").Problem} Problem */

/** Carries a problem through `throw`. */
export class Trouble extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(problem.text);
    this.problem = problem;
  }
}

/** @type {Problem} */
const UNREACHABLE = {
  kind: "network",
  text: "The server does not answer.",
  advice: "Check that dreamframe serve is running; this page reconnects when it is back.",
};

/**
 * Describes an error response.
 *
 * @param {number} status
 * @param {any} body            The JSON body, if any.
 * @param {string | null} [retryAfter]
 * @returns {Problem}
 */
export function ofAnswer(status, body, retryAfter) {
  const said = sentence(body?.error ?? body?.detail);
  const wait = retryAfter && /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1000 : undefined;
  if (status === 401) {
    return { kind: "key", text: "The server asks for an API key.", advice: "Enter the key that it was started with." };
  }
  if (status === 403) {
    return { kind: "key", text: "This API key may not use the stream.", advice: "Enter another key." };
  }
  if (status === 404) {
    return { kind: "missing", text: "The stream has ended.", advice: "A new one is created." };
  }
  if (status === 429 || status === 503) {
    const text = said || "The server is busy.";
    return { kind: "busy", text, advice: "Retrying; stopping another stream helps.", wait };
  }
  if (status === 406 || status === 422) {
    const advice = "Try another browser: the server uses H.264.";
    return { kind: "media", text: said || "The server and this browser have no video codec in common.", advice };
  }
  if (status >= 500) {
    const advice = "Retrying; see the server's log.";
    return { kind: "server", text: said || `The server failed (status ${status}).`, advice, wait };
  }
  const fields = Array.isArray(body?.details?.fields) ? body.details.fields : undefined;
  const advice = "The previous settings stay.";
  return { kind: "refused", text: said || `The server refused this (status ${status}).`, advice, fields };
}

/**
 * Describes a failure without a response: a lost connection, a denied camera.
 *
 * @param {unknown} error
 * @returns {Problem}
 */
export function ofError(error) {
  if (error instanceof Trouble) return error.problem;
  if (error instanceof TypeError || nameOf(error) === "TimeoutError" || nameOf(error) === "NetworkError") return UNREACHABLE;
  return { kind: "media", text: sentence(String(error instanceof Error ? error.message : error)), advice: "Try again." };
}

/**
 * Describes a source that could not be started.
 *
 * @param {unknown} error
 * @param {string} what  "camera", "screen" or "file".
 * @returns {Problem}
 */
export function ofSource(error, what) {
  const media = (/** @type {string} */ text, /** @type {string} */ advice) => ({ kind: /** @type {const} */ ("media"), text, advice });
  switch (nameOf(error)) {
    case "NotAllowedError":
      return media(`The browser was not allowed to use the ${what}.`, "Allow it in the address bar, then choose it again.");
    case "NotFoundError":
    case "OverconstrainedError":
      return media(`No ${what} was found.`, "Connect one, or play the demo clip.");
    case "NotReadableError":
      return media(`The ${what} is in use by another program.`, "Close that program, then choose it again.");
    case "AbortError":
      return media(`The ${what} was not chosen.`, "Choose it again, or play the demo clip.");
    default:
      return what === "file"
        ? media("The browser cannot play this file.", "Try an MP4 with H.264, a WebM, a JPEG or a PNG.")
        : media(`The ${what} did not start.`, "Choose it again, or play the demo clip.");
  }
}

/**
 * Lists the rejected settings with reasons, or returns the server's message if there are none.
 *
 * @param {Problem} problem
 */
export function refusal(problem) {
  if (!problem.fields?.length) return problem.text;
  return problem.fields.map(({ path, reason }) => `${path.replace(/^params\./, "")}: ${reason}`).join(" · ");
}

/** @param {unknown} error */
function nameOf(error) {
  return error instanceof Error || error instanceof DOMException ? error.name : "";
}

/**
 * Makes a sentence: a capital first, a full stop last.
 *
 * @param {unknown} text
 */
function sentence(text) {
  const trimmed = typeof text === "string" ? text.trim() : "";
  if (!trimmed) return "";
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}
