/** Sliders moved by keys and by MIDI: which key or knob moves which slider is learned, and kept in this browser. */

import { el, icon } from "./dom.js";
import { load, storage, store } from "./local.js";
import { fit } from "./params.js";

/**
 * @typedef {{min: number, max: number, step: number}} Range
 * @typedef {{id: string, value: number}} Move  A knob or pad, and its position from 0 to 1.
 */

const KEPT = "dreamframe.mappings";
/** The steps from one end of a slider to the other by key. */
const PRESSES = 40;
const CONTROL_CHANGE = 0xb0;
const NOTE_ON = 0x90;

/**
 * Reads a MIDI message; `undefined` for those that move nothing.
 *
 * @param {ArrayLike<number>} data
 * @returns {Move | undefined}
 */
export function ofMidi(data) {
  const [status = 0, number = 0, value = 0] = Array.from(data);
  const channel = (status & 0x0f) + 1;
  if ((status & 0xf0) === CONTROL_CHANGE) return { id: `midi control ${number}, channel ${channel}`, value: value / 127 };
  // A note with the velocity 0 is one that ends.
  if ((status & 0xf0) === NOTE_ON && value > 0) return { id: `midi note ${number}, channel ${channel}`, value: value / 127 };
  return undefined;
}

/**
 * Returns the name of a key that may move a slider; `undefined` for keys with another meaning.
 *
 * @param {{key: string, ctrlKey: boolean, metaKey: boolean, altKey: boolean}} event
 */
export function ofKey({ key, ctrlKey, metaKey, altKey }) {
  if (ctrlKey || metaKey || altKey || key === " " || [...key].length !== 1) return undefined;
  return `key ${key.toLowerCase()}`;
}

/**
 * Returns the value of a slider at a position from 0 to 1.
 *
 * @param {Range} range
 * @param {number} position
 */
export function at({ min, max, step }, position) {
  return fit(min + (max - min) * position, { min, max, step }) ?? min;
}

/**
 * Returns the value of a slider after the press of a key.
 *
 * @param {Range} range
 * @param {number} value
 * @param {boolean} down
 */
export function pressed({ min, max, step }, value, down) {
  const stride = Math.max(step, (max - min) / PRESSES);
  return fit(value + (down ? -stride : stride), { min, max, step }) ?? value;
}

/** Which key or knob moves which slider. */
export class Mappings {
  /** @param {import("./local.js").Storage} kept */
  constructor(kept) {
    this.kept = kept;
    const isEntry = (/** @type {any} */ one) => Array.isArray(one) && one.length === 2 && one.every((text) => typeof text === "string");
    /** By the name of the key or knob, the path of the parameter. @type {Map<string, string>} */
    this.all = new Map(load(kept, KEPT, (list) => (Array.isArray(list) ? list.filter(isEntry) : undefined), []));
  }

  /**
   * @param {string} id
   * @param {string} path
   */
  set(id, path) {
    this.all.set(id, path);
    store(this.kept, KEPT, [...this.all]);
  }

  /** @param {string} id */
  remove(id) {
    this.all.delete(id);
    store(this.kept, KEPT, [...this.all]);
  }
}

const rangeOf = (/** @type {string} */ path) => /** @type {HTMLInputElement | null} */ (document.querySelector(`[data-path="${CSS.escape(path)}"] input[type="range"]`));
const bounds = (/** @type {HTMLInputElement} */ range) => ({ min: Number(range.min), max: Number(range.max), step: Number(range.step) || 0.01 });
const labelOf = (/** @type {string} */ path) => rangeOf(path)?.labels?.[0]?.firstChild?.textContent ?? path;

/**
 * Creates the group of mappings, and listens to keys and, where the browser has it, MIDI.
 *
 * @returns {{element: HTMLElement}}
 */
export function mapping() {
  const mappings = new Mappings(storage());
  let learning = false;
  /** The slider that learns. */
  let path = "";
  const learn = el("input", { type: "checkbox", role: "switch", id: "learn" });
  const words = el("p", { class: "note", role: "status" });
  const list = el("div", { class: "items" });
  const hasMidi = typeof navigator.requestMIDIAccess === "function";

  const draw = () => {
    const chosen = path ? `${labelOf(path)}: press a key${hasMidi ? ", or turn a knob" : ""}.` : "Choose a slider.";
    words.textContent = learning ? chosen : `A key raises its slider, with Shift it lowers it.${hasMidi ? "" : " This browser has no MIDI."}`;
    list.replaceChildren(...[...mappings.all].map(([id, of]) => el("div", { class: "pair" }, el("span", { class: "pair-name" }, `${id}: ${labelOf(of)}`),
      el("button", { type: "button", class: "small", "aria-label": `Remove ${id}`, onclick: () => { mappings.remove(id); draw(); } }, icon("close")))));
    document.body.toggleAttribute("data-learning", learning);
  };
  const assign = (/** @type {string} */ id) => {
    mappings.set(id, path);
    draw();
  };
  const move = (/** @type {string} */ id, /** @type {(range: HTMLInputElement) => number} */ value) => {
    const range = rangeOf(mappings.all.get(id) ?? "");
    if (!range) return;
    range.value = String(value(range));
    range.dispatchEvent(new Event("input", { bubbles: true }));
  };

  learn.addEventListener("change", () => {
    learning = learn.checked;
    path = "";
    if (learning) void listen();
    draw();
  });
  document.addEventListener("focusin", ({ target }) => {
    const row = target instanceof HTMLInputElement && target.type === "range" ? target.closest("[data-path]") : null;
    if (!learning || !row) return;
    path = row.getAttribute("data-path") ?? "";
    draw();
  });
  document.addEventListener("keydown", (event) => {
    const id = ofKey(event);
    const types = event.target instanceof Element && event.target.matches("textarea, select, input:not([type=range], [type=checkbox])");
    if (!id || types || document.querySelector("dialog[open]")) return;
    if (learning && path) assign(id);
    else if (mappings.all.has(id)) move(id, (range) => pressed(bounds(range), Number(range.value), event.shiftKey));
    else return;
    event.preventDefault();
  });

  /** @type {Promise<void> | undefined} */
  let listening;
  const heard = (/** @type {MIDIMessageEvent} */ { data }) => {
    const got = data && ofMidi(data);
    if (!got) return;
    if (learning && path) assign(got.id);
    else move(got.id, (range) => at(bounds(range), got.value));
  };
  const listen = () => (listening ??= hasMidi ? connect(heard).catch(() => {
    words.textContent = "The browser does not allow MIDI for this page.";
    listening = undefined;
  }) : Promise.resolve());
  if ([...mappings.all.keys()].some((id) => id.startsWith("midi"))) void listen();

  draw();
  const body = el("div", { class: "group-body" }, el("div", { class: "row row-switch" }, el("label", { class: "name", for: "learn" }, "Learn"), learn), words, list);
  const element = el("details", { class: "panel group", id: "mappings" }, el("summary", {}, el("h2", {}, hasMidi ? "Keys and MIDI" : "Keys")), body);
  element.addEventListener("toggle", draw);
  return { element };
}

/** @param {(event: MIDIMessageEvent) => void} heard */
async function connect(heard) {
  const access = await navigator.requestMIDIAccess();
  const all = () => access.inputs.forEach((input) => (input.onmidimessage = heard));
  access.addEventListener("statechange", all);
  all();
}
