/** A stream on the server and its parameters: created on demand, updated live, created again when it has ended. */

import { read, write } from "./api.js";
import { Coalescer, Undelivered } from "./coalesce.js";
import { ofError } from "./messages.js";
import { same } from "./params.js";

/** @typedef {import("./types.js").Catalogue} Catalogue */
/** @typedef {import("./types.js").Params} Params */
/** @typedef {import("./types.js").Problem} Problem */
/** @typedef {import("./types.js").Stream} Stream */

const STREAM = "dreamframe.stream";
const PAUSE = 50;

export class Session {
  /** @type {Stream | undefined} */
  stream;
  /** The parameters confirmed by the server. @type {Params} */
  #confirmed;
  /** The parameters shown: the server's, with pending changes. @type {Params} */
  params;
  /** The seconds in which a new prompt is reached. */
  fade = 0;
  /** @type {Promise<Stream> | undefined} */
  #making;
  /** @type {string[]} */
  #remarks = [];
  #outbox = new Coalescer((changes) => this.#send(changes), PAUSE);

  /**
   * @param {import("./api.js").Api} api
   * @param {Catalogue} catalogue
   * @param {{changed: () => void, failed: (problem: Problem) => void, remarked: (remarks: string[]) => void}} listener
   */
  constructor(api, catalogue, listener) {
    this.api = api;
    this.catalogue = catalogue;
    this.listener = listener;
    this.#confirmed = catalogue.defaults;
    this.params = catalogue.defaults;
  }

  /** Finds the stream that this tab had before a reload. */
  async resume() {
    const id = read(STREAM);
    if (!id) return;
    try {
      this.#adopt(await this.api.stream(id));
    } catch (error) {
      if (ofError(error).kind !== "missing") throw error;
      write(STREAM, "");
    }
  }

  /**
   * Returns the stream; creates it if there is none yet.
   *
   * @returns {Promise<Stream>}
   */
  async ready() {
    if (this.stream) return this.stream;
    this.#making ??= this.#make().finally(() => (this.#making = undefined));
    return this.#making;
  }

  /** Drops a stream that the server no longer has; the next `ready` creates one with the same parameters. */
  forget() {
    this.stream = undefined;
    this.#outbox.clear();
    write(STREAM, "");
  }

  /**
   * Changes parameters: immediately on the page, shortly after on the server.
   *
   * @param {Params} changes
   */
  change(changes) {
    const fresh = Object.entries(changes).filter(([name, value]) => !same(this.params[name], value));
    if (fresh.length === 0) return;
    this.params = { ...this.params, ...Object.fromEntries(fresh) };
    this.listener.changed();
    // Without a stream the changes are sent when it is created.
    if (this.stream) this.#outbox.add(Object.fromEntries(fresh));
  }

  /** Sends changes that could not be delivered before. */
  flush() {
    void this.#outbox.flush();
  }

  /** Shows the server's parameters, which have changed without this page. */
  async refresh() {
    const { stream, params } = this;
    if (!stream) return;
    try {
      this.#adopt(await this.api.stream(stream.id), params);
    } catch (error) {
      this.listener.failed(ofError(error));
    }
  }

  async #make() {
    const sent = this.params;
    try {
      const stream = await this.api.create(onlyChanged(sent, this.catalogue.defaults));
      const meanwhile = Object.entries(this.params).filter(([name, value]) => !same(value, sent[name]));
      this.#adopt(stream, sent);
      if (meanwhile.length > 0) this.#outbox.add(Object.fromEntries(meanwhile));
      return stream;
    } catch (error) {
      const problem = ofError(error);
      if (problem.kind === "refused") this.#reject(this.catalogue.defaults, problem);
      throw error;
    }
  }

  /** @param {Params} changes */
  async #send(changes) {
    if (!this.stream) return;
    const before = this.params;
    try {
      this.#adopt(await this.api.patch(this.stream.id, changes, this.fade), before);
    } catch (error) {
      const problem = ofError(error);
      if (problem.kind === "missing") this.forget();
      else if (problem.kind === "refused") this.#reject(this.#confirmed, problem);
      else {
        this.listener.failed(problem);
        throw new Undelivered(problem.text);
      }
    }
  }

  /**
   * Applies the server's parameters, except those with pending changes.
   *
   * @param {Stream} stream
   * @param {Params} [sent]  The parameters shown when the request was sent.
   */
  #adopt(stream, sent) {
    this.stream = stream;
    write(STREAM, stream.id);
    this.#remark(stream.pipeline_params?.engine?.remarks ?? []);
    const known = Object.keys(this.catalogue.schema.properties);
    const all = { ...stream.pipeline_params, ...stream.params };
    const own = known.filter((name) => all[name] !== undefined).map((name) => [name, all[name]]);
    this.#confirmed = { ...this.catalogue.defaults, ...Object.fromEntries(own) };
    this.#show(sent ?? this.params);
  }

  /**
   * Reports the server's remarks on accepted settings, each once.
   *
   * @param {string[]} remarks
   */
  #remark(remarks) {
    const fresh = remarks.filter((remark) => !this.#remarks.includes(remark));
    this.#remarks = remarks;
    if (fresh.length > 0) this.listener.remarked(fresh);
  }

  /**
   * @param {Params} good
   * @param {Problem} problem
   */
  #reject(good, problem) {
    this.#confirmed = good;
    this.#show(this.params);
    this.listener.failed(problem);
  }

  /**
   * Shows the confirmed parameters with changes since `sent`.
   *
   * @param {Params} sent
   */
  #show(sent) {
    const newer = Object.entries(this.params).filter(([name, value]) => !same(value, sent[name]));
    const waiting = this.#outbox.waiting.map((name) => [name, this.params[name]]);
    const shown = { ...this.#confirmed, ...Object.fromEntries(waiting), ...Object.fromEntries(newer) };
    this.params = shown;
    this.listener.changed();
  }
}

/**
 * Keeps values that differ from the server's defaults; the model is always included.
 *
 * @param {Params} params
 * @param {Params} defaults
 */
function onlyChanged(params, defaults) {
  const changed = Object.entries(params).filter(([name, value]) => name === "model_id" || !same(value, defaults[name]));
  return Object.fromEntries(changed);
}
