/** The server's HTTP interface, as far as the page uses it. Everything goes to the page's own origin. */

import { ofAnswer, Trouble } from "./messages.js";

/** @typedef {import("./types.js").Catalogue} Catalogue */
/** @typedef {import("./types.js").Params} Params */
/** @typedef {import("./types.js").Stream} Stream */

const PATIENCE = 10000;
const KEY = "dreamframe.key";

/** The parameters that follow the speed of the machine unless the user has set one. */
const SIZES = ["width", "height", "t_index_list"];

export class Api {
  #key = read(KEY);

  /** @param {string} base  The address of the page's folder. */
  constructor(base) {
    this.base = base;
  }

  /** @param {string} key */
  setKey(key) {
    this.#key = key;
    write(KEY, key);
  }

  /** Whether a key was entered before. */
  get hasKey() {
    return this.#key !== "";
  }

  /** @returns {Record<string, string>} */
  get headers() {
    return this.#key ? { Authorization: `Bearer ${this.#key}` } : {};
  }

  /**
   * Maps an address from the server to this origin: behind a proxy the server may know another one.
   *
   * @param {string} url
   */
  here(url) {
    const { pathname, search } = new URL(url, this.base);
    // Not built as text: a path that begins with two slashes would name another host, which would get the key.
    const here = new URL(this.base);
    here.pathname = pathname;
    here.search = search;
    return here.href;
  }

  /** @returns {Promise<Catalogue>} */
  catalogue() {
    return this.#call("GET", "v1/schema");
  }

  /**
   * Lists the models that the server's machine can run.
   *
   * @returns {Promise<{models: import("./models.js").Recommendation[]}>}
   */
  recommendations() {
    return this.#call("GET", "v1/recommendations");
  }

  /**
   * @param {Params} params
   * @returns {Promise<Stream>}
   */
  create(params) {
    return this.#call("POST", "v1/streams", { pipeline: "streamdiffusion", name: "page", adapt: !SIZES.some((name) => name in params), params });
  }

  /**
   * Changes whether size and steps follow the speed of the machine.
   *
   * @param {string} id
   * @param {boolean} on
   * @returns {Promise<Stream>}
   */
  adapt(id, on) {
    return this.#call("PATCH", `v1/streams/${encodeURIComponent(id)}`, { pipeline: "streamdiffusion", adapt: on });
  }

  /**
   * @param {string} id
   * @returns {Promise<Stream>}
   */
  stream(id) {
    return this.#call("GET", `v1/streams/${encodeURIComponent(id)}`);
  }

  /**
   * @param {string} id
   * @param {Params} params
   * @param {number} [fade]  The seconds in which a new prompt is reached.
   * @returns {Promise<Stream>}
   */
  patch(id, params, fade = 0) {
    const transition = fade > 0 && params.prompt !== undefined ? { transition: { duration: fade } } : {};
    return this.#call("PATCH", `v1/streams/${encodeURIComponent(id)}`, { pipeline: "streamdiffusion", params, ...transition });
  }

  /**
   * @param {string} id
   * @returns {Promise<any>}
   */
  async status(id) {
    const { data } = await this.#call("GET", `v1/streams/${encodeURIComponent(id)}/status`);
    return data ?? {};
  }

  /**
   * Returns the last seconds of a stream's output, as an MP4.
   *
   * @param {string} id
   * @param {number} seconds
   */
  async recording(id, seconds) {
    const response = await this.#ask("GET", `v1/streams/${encodeURIComponent(id)}/recording?seconds=${seconds}`);
    if (response.ok) return response.blob();
    throw new Trouble(ofAnswer(response.status, await response.json().catch(() => undefined)));
  }

  /**
   * Stores the last seconds of a stream's output as a clip, which everyone with its link can watch.
   *
   * @param {string} id
   * @param {number} seconds
   * @returns {Promise<{id: string, url: string}>}
   */
  clip(id, seconds) {
    return this.#call("POST", `v1/streams/${encodeURIComponent(id)}/clips`, { seconds });
  }

  /** @param {string} clip */
  removeClip(clip) {
    return this.#call("DELETE", `v1/clips/${encodeURIComponent(clip)}`);
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {any} [body]
   * @returns {Promise<any>}
   */
  async #call(method, path, body) {
    const response = await this.#ask(method, path, body);
    const json = await response.json().catch(() => undefined);
    if (response.ok && json !== undefined) return json;
    throw new Trouble(ofAnswer(response.ok ? 502 : response.status, json, response.headers.get("Retry-After")));
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {any} [body]
   */
  #ask(method, path, body) {
    return fetch(new URL(path, this.base), {
      method,
      headers: { ...this.headers, ...(body ? { "Content-Type": "application/json" } : {}) },
      body: body ? JSON.stringify(body) : undefined,
      signal: AbortSignal.timeout(PATIENCE),
      cache: "no-store",
    });
  }
}

/**
 * Reads a value of this tab's storage, which a browser may forbid.
 *
 * @param {string} name
 */
export function read(name) {
  try {
    return sessionStorage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

/**
 * @param {string} name
 * @param {string} value
 */
export function write(name, value) {
  try {
    sessionStorage.setItem(name, value);
  } catch {
    // Then the user is asked again after a reload.
  }
}
