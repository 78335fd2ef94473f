/** How long to wait before the next attempt: 1, 2, 4, 8 s and so on, up to a bound. */

const FIRST = 1000;
const LONGEST = 15000;

export class Backoff {
  #attempts = 0;

  /**
   * Returns the next delay in milliseconds.
   *
   * @param {number} [asked]  The delay requested by the server; at most a minute.
   */
  next(asked) {
    const own = Math.min(FIRST * 2 ** this.#attempts, LONGEST);
    this.#attempts = Math.min(this.#attempts + 1, 10);
    return asked === undefined ? own : Math.max(own, Math.min(asked, 60000));
  }

  /** Starts over, after a success. */
  reset() {
    this.#attempts = 0;
  }
}
