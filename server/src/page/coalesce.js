/**
 * Sends changes at a limited rate, one at a time; the newest value of each key wins.
 *
 * Changes that could not be delivered are kept, below later ones, until `flush` is called again. Rejected ones are
 * dropped: `send` decides by what it throws (see `Undelivered`).
 */

/** Thrown by `send` if the change did not reach the server and is to be kept. */
export class Undelivered extends Error {}

export class Coalescer {
  /** @type {Record<string, any>} */
  #waiting = {};
  #sending = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {(changes: Record<string, any>) => Promise<void>} send
   * @param {number} pause  Milliseconds from a change to its sending.
   */
  constructor(send, pause) {
    this.send = send;
    this.pause = pause;
  }

  /**
   * Adds changes.
   *
   * @param {Record<string, any>} changes
   */
  add(changes) {
    Object.assign(this.#waiting, changes);
    this.#schedule();
  }

  /** Sends waiting changes without a pause. */
  async flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#sending || Object.keys(this.#waiting).length === 0) return;
    const changes = this.#waiting;
    this.#waiting = {};
    this.#sending = true;
    let again = true;
    try {
      await this.send(changes);
    } catch (error) {
      if (!(error instanceof Undelivered)) throw error;
      this.#waiting = { ...changes, ...this.#waiting };
      again = false;
    } finally {
      this.#sending = false;
      if (again && Object.keys(this.#waiting).length > 0) this.#schedule();
    }
  }

  /** The keys whose newest value the server has not confirmed. */
  get waiting() {
    return Object.keys(this.#waiting);
  }

  /** Drops waiting changes. */
  clear() {
    this.#waiting = {};
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #schedule() {
    if (this.#sending || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => void this.flush(), this.pause);
  }
}
