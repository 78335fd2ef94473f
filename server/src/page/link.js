/**
 * One WebRTC connection by WHIP or WHEP: an offer by POST, an answer back, DELETE at the end; and again from the start,
 * with increasing pauses, until it is closed.
 */

import { Backoff } from "./backoff.js";
import { askForIceServers } from "./ice.js";
import { ofAnswer, ofError, Trouble } from "./messages.js";

/** @typedef {import("./types.js").Problem} Problem */
/** @typedef {{name: "idle" | "connecting" | "connected" | "waiting", problem?: Problem, until?: number}} LinkState */

/** The time for which a connection may be disconnected before it is replaced. */
const DISTURBED = 2500;
const CONNECTING = 10000;
const GATHERING = 500;
/** The longest time to gather candidates where there are STUN or TURN servers, which may be far away. */
const GATHERING_FAR = 3000;
/** The longest time to ask for them. */
const ASKING = 3000;

export class Link {
  /** @type {RTCPeerConnection | undefined} */
  peer;
  /** @type {LinkState} */
  state = { name: "idle" };
  #wanted = false;
  #round = 0;
  #backoff = new Backoff();
  /** @type {string | undefined} */
  #resource;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {object} options
   * @param {() => string} options.endpoint                      The address for the offer.
   * @param {(location: string) => string} options.resolve       Resolves the resource's address from `Location`.
   * @param {() => Record<string, string>} options.headers
   * @param {(peer: RTCPeerConnection) => void} options.prepare  Adds what is sent or received.
   * @param {(state: LinkState) => void} options.changed
   */
  constructor(options) {
    this.options = options;
  }

  /** Connects, or reconnects at once while waiting. */
  start() {
    this.#wanted = true;
    this.#backoff.reset();
    void this.#connect();
  }

  /** Ends the connection permanently. */
  stop() {
    this.#wanted = false;
    this.#leave(true);
    this.#set({ name: "idle" });
  }

  /** Ends the connection when the page is closed. */
  abandon() {
    this.#wanted = false;
    this.#leave(true);
  }

  /** @param {LinkState} state */
  #set(state) {
    this.state = state;
    this.options.changed(state);
  }

  async #connect() {
    this.#leave(true);
    const round = this.#round;
    const live = () => this.#wanted && round === this.#round;
    this.#set({ name: "connecting" });
    this.#timer = setTimeout(() => live() && this.#retry(ofError(new TypeError("timeout"))), CONNECTING);
    try {
      const iceServers = await askForIceServers(this.options.endpoint(), this.options.headers(), ASKING);
      if (!live()) return;
      const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle", iceServers });
      this.peer = peer;
      this.options.prepare(peer);
      peer.addEventListener("connectionstatechange", () => live() && this.#follow(peer));
      await peer.setLocalDescription();
      await gathered(peer, iceServers.length > 0 ? GATHERING_FAR : GATHERING);
      const answer = await this.#exchange(peer.localDescription?.sdp ?? "", live);
      if (live()) await peer.setRemoteDescription({ type: "answer", sdp: answer });
    } catch (error) {
      if (live()) this.#retry(ofError(error));
    }
  }

  /**
   * @param {string} offer
   * @param {() => boolean} live
   */
  async #exchange(offer, live) {
    const headers = { ...this.options.headers(), "Content-Type": "application/sdp" };
    const response = await fetch(this.options.endpoint(), {
      method: "POST",
      headers,
      body: offer,
      signal: AbortSignal.timeout(CONNECTING),
    });
    const text = await response.text();
    if (!response.ok) throw new Trouble(ofAnswer(response.status, json(text), response.headers.get("Retry-After")));
    const location = response.headers.get("Location");
    const resource = location ? this.options.resolve(location) : undefined;
    if (live()) this.#resource = resource;
    else if (resource) this.#delete(resource);
    return text;
  }

  /** @param {RTCPeerConnection} peer */
  #follow(peer) {
    clearTimeout(this.#timer);
    switch (peer.connectionState) {
      case "connected":
        this.#backoff.reset();
        this.#set({ name: "connected" });
        break;
      case "failed":
      case "closed":
        this.#retry(lost);
        break;
      case "disconnected":
        this.#timer = setTimeout(() => this.#retry(lost), DISTURBED);
        break;
      default:
        this.#timer = setTimeout(() => this.#retry(lost), CONNECTING);
    }
  }

  /** @param {Problem} problem */
  #retry(problem) {
    this.#leave(true);
    const pause = this.#backoff.next(problem.wait);
    this.#set({ name: "waiting", problem, until: Date.now() + pause });
    // Without a key, a retry does not help.
    if (problem.kind !== "key") this.#timer = setTimeout(() => this.#wanted && void this.#connect(), pause);
  }

  /** @param {boolean} notify  Whether the server is notified. */
  #leave(notify) {
    this.#round += 1;
    clearTimeout(this.#timer);
    this.peer?.close();
    this.peer = undefined;
    if (notify && this.#resource) this.#delete(this.#resource);
    this.#resource = undefined;
  }

  /** @param {string} resource */
  #delete(resource) {
    // Sent even while the page is closed; the server also notices a lost connection.
    fetch(resource, { method: "DELETE", headers: this.options.headers(), keepalive: true }).catch(() => {});
  }
}

/** @type {Problem} */
const lost = {
  kind: "network",
  text: "The connection was lost.",
  advice: "Reconnecting. If this continues, a firewall may block UDP between this browser and the server.",
};

/**
 * Waits until the candidates of this side are gathered, with a timeout: the server learns them anyway.
 *
 * @param {RTCPeerConnection} peer
 * @param {number} time  In milliseconds.
 * @returns {Promise<void>}
 */
function gathered(peer, time) {
  return new Promise((resolve) => {
    const check = () => peer.iceGatheringState === "complete" && resolve();
    peer.addEventListener("icegatheringstatechange", check);
    setTimeout(resolve, time);
    check();
  });
}

/** @param {string} text */
function json(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * Puts H.264 first: the server encodes and decodes it best.
 *
 * @param {RTCRtpTransceiver} transceiver
 * @param {RTCRtpCapabilities | null} capabilities
 */
export function preferH264(transceiver, capabilities) {
  const codecs = capabilities?.codecs;
  if (!codecs || !("setCodecPreferences" in transceiver)) return;
  const isH264 = (/** @type {RTCRtpCodec} */ codec) => codec.mimeType.toLowerCase() === "video/h264";
  transceiver.setCodecPreferences([...codecs.filter(isH264), ...codecs.filter((codec) => !isH264(codec))]);
}
