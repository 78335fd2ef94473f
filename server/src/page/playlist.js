/** A list of prompts that plays: each for its own or the common number of seconds, again from the start after the last. */

import { el, freshId } from "./dom.js";
import { load, storage, store } from "./local.js";
import { fit } from "./params.js";

const KEPT = "dreamframe.playlist";
const SECONDS = { min: 1, max: 3600 };
/** The longest fade that the server makes, in seconds. */
const FADE = { min: 0, max: 600 };

/** @typedef {{prompt: string, seconds?: number}} Line */

/**
 * Returns the prompts of a text, one a line. A line may end with the seconds of its prompt: `a garden | 12`.
 *
 * @param {string} text
 * @returns {Line[]}
 */
export function lines(text) {
  const read = (/** @type {string} */ line) => {
    const [, prompt = line, number] = /^(.*\S)\s*\|\s*(\d+(?:\.\d+)?)\s*s?$/.exec(line) ?? [];
    const seconds = number === undefined ? undefined : fit(Number(number), SECONDS);
    return seconds === undefined ? { prompt } : { prompt, seconds };
  };
  return text.split("\n").map((line) => line.trim()).filter((line) => line !== "").map(read);
}

/** Plays prompts. */
export class Playlist {
  /** @type {Line[]} */
  #prompts = [];
  #next = 0;
  /** @type {any} */
  #timer;

  /**
   * @param {(prompt: string) => void} put
   * @param {{after: (act: () => void, ms: number) => any, cancel: (timer: any) => void}} clock
   */
  constructor(put, clock = { after: (act, ms) => setTimeout(act, ms), cancel: (timer) => clearTimeout(timer) }) {
    this.put = put;
    this.clock = clock;
  }

  get plays() {
    return this.#timer !== undefined;
  }

  /**
   * Plays from the start.
   *
   * @param {Line[]} prompts
   * @param {() => number} seconds  The time of each that has none of its own; a change counts from the next prompt on.
   * @returns {boolean}  Whether there is anything to play.
   */
  play(prompts, seconds) {
    this.stop();
    if (prompts.length === 0) return false;
    this.#prompts = prompts;
    this.#next = 0;
    this.#step(seconds);
    return true;
  }

  /** @param {() => number} seconds */
  #step(seconds) {
    const { prompt, seconds: own } = this.#prompts[this.#next] ?? { prompt: "" };
    this.#next = (this.#next + 1) % this.#prompts.length;
    this.#timer = this.clock.after(() => this.#step(seconds), (own ?? seconds()) * 1000);
    this.put(prompt);
  }

  stop() {
    this.clock.cancel(this.#timer);
    this.#timer = undefined;
  }
}

/**
 * Creates the controls of fades and of the list.
 *
 * @param {(prompt: string) => void} put
 * @param {(seconds: number) => void} fade
 * @returns {{fade: HTMLElement, element: HTMLElement}}
 */
export function playlist(put, fade) {
  const kept = storage();
  const state = load(kept, KEPT, (value) => ({
    text: String(value.text ?? ""),
    seconds: fit(Number(value.seconds), SECONDS) ?? 20,
    fade: fit(Number(value.fade), FADE) ?? 0,
  }), { text: "", seconds: 20, fade: 0 });
  const list = new Playlist(put);
  const number = (/** @type {"seconds" | "fade"} */ name, /** @type {{min: number, max: number}} */ bounds, /** @type {() => void} */ changed) => {
    const input = el("input", { type: "number", class: "number", id: freshId(name), min: String(bounds.min), max: String(bounds.max), step: "any", inputMode: "decimal", value: String(state[name]) });
    input.addEventListener("change", () => {
      state[name] = fit(input.valueAsNumber, bounds) ?? state[name];
      input.value = String(state[name]);
      store(kept, KEPT, state);
      changed();
    });
    return input;
  };
  const length = number("fade", FADE, () => fade(state.fade));
  const each = number("seconds", SECONDS, () => {});
  const area = el("textarea", { id: freshId("playlist"), rows: 4, value: state.text, placeholder: "One prompt per line, with its seconds if they differ: a garden | 12" });
  area.addEventListener("input", () => {
    state.text = area.value;
    store(kept, KEPT, state);
  });
  const button = el("button", { type: "button", id: "playlist-play", "aria-pressed": "false" }, "Play the list");
  const show = () => {
    button.textContent = list.plays ? "Stop the list" : "Play the list";
    button.setAttribute("aria-pressed", String(list.plays));
  };
  button.addEventListener("click", () => {
    if (list.plays) list.stop();
    else if (!list.play(lines(area.value), () => state.seconds)) area.focus();
    show();
  });
  fade(state.fade);
  const row = (/** @type {string} */ text, /** @type {HTMLInputElement} */ input) => el("div", { class: "row row-switch" }, el("label", { class: "name", for: input.id }, text), input);
  const element = el("details", { class: "folded playlist" }, el("summary", {}, "Play a list of prompts"),
    el("label", { class: "unseen", for: area.id }, "Prompts, one per line"), area, row("Seconds for each", each), button);
  return { fade: row("Fade to a new prompt, in seconds", length), element };
}
