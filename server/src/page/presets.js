/** Presets of the user: named parameters, kept in this browser, and passed on as links. */

import { el, freshId, icon } from "./dom.js";
import { load, storage, store } from "./local.js";
import { same } from "./params.js";

/** @typedef {import("./types.js").Catalogue} Catalogue */
/** @typedef {import("./types.js").Params} Params */
/** @typedef {{name: string, params: Params}} Preset */

const KEPT = "dreamframe.presets";
const FRAGMENT = "preset";
/** The longest name, the longest text of a value, and the longest link: browsers and messengers cut longer ones. */
const LONGEST_NAME = 64;
const LONGEST_VALUE = 8192;
const LONGEST_LINK = 32_768;
const MOST = 100;

/**
 * Returns a preset of the parameters that differ from the defaults. An uploaded style image is left out: it is too large for
 * a link.
 *
 * @param {string} name
 * @param {Params} params
 * @param {Params} defaults
 * @returns {Preset}
 */
export function presetOf(name, params, defaults) {
  const own = Object.entries(params).filter(([key, value]) => key in defaults && !same(value, defaults[key]));
  return { name, params: Object.fromEntries(own.filter(([, value]) => typeof value !== "string" || value.length <= LONGEST_VALUE)) };
}

/**
 * Returns all parameters that a preset sets: those that it does not name have their defaults.
 *
 * @param {Preset} preset
 * @param {Params} defaults
 * @returns {Params}
 */
export function paramsOf(preset, defaults) {
  const known = Object.entries(preset.params).filter(([name]) => name in defaults);
  return { ...defaults, ...Object.fromEntries(known) };
}

/** The longest text of a value that is shown. */
const SHOWN = 80;

/**
 * Lists what a preset changes, as texts.
 *
 * @param {Preset} preset
 * @param {Params} params    The current parameters.
 * @param {Params} defaults
 * @returns {{name: string, from: string, to: string}[]}
 */
export function changesOf(preset, params, defaults) {
  const text = (/** @type {any} */ value) => {
    const whole = typeof value === "string" ? value : JSON.stringify(value) ?? "";
    return whole.length > SHOWN ? `${whole.slice(0, SHOWN)}…` : whole;
  };
  return Object.entries(paramsOf(preset, defaults))
    .filter(([name, value]) => !same(value, params[name]))
    .map(([name, value]) => ({ name, from: text(params[name]), to: text(value) }));
}

/**
 * Returns the link to a preset; `undefined` if it would be too long.
 *
 * @param {string} page  The address of the page.
 * @param {Preset} preset
 */
export function toLink(page, preset) {
  const url = new URL(page);
  url.search = "";
  url.hash = `${FRAGMENT}=${encodeURIComponent(JSON.stringify(preset))}`;
  return url.href.length <= LONGEST_LINK ? url.href : undefined;
}

/**
 * Reads the preset of a link's fragment, or of a whole link.
 *
 * @param {string} text
 * @returns {Preset | undefined}
 */
export function fromLink(text) {
  const at = text.indexOf(`#${FRAGMENT}=`);
  if (at < 0 || text.length > LONGEST_LINK) return undefined;
  try {
    return parse(JSON.parse(decodeURIComponent(text.slice(at + FRAGMENT.length + 2))));
  } catch {
    return undefined;
  }
}

/**
 * @param {any} value
 * @returns {Preset | undefined}
 */
function parse(value) {
  const { name, params } = value ?? {};
  const isPreset = typeof name === "string" && params !== null && typeof params === "object" && !Array.isArray(params);
  return isPreset ? { name: name.slice(0, LONGEST_NAME), params } : undefined;
}

/** The presets of this browser, each name once. */
export class Presets {
  /** @param {import("./local.js").Storage} kept */
  constructor(kept) {
    this.kept = kept;
    /** @type {Preset[]} */
    this.all = load(kept, KEPT, (list) => (Array.isArray(list) ? list.map(parse).filter((one) => one !== undefined) : undefined), []);
  }

  /**
   * Adds a preset, in place of one with the same name.
   *
   * @param {Preset} preset
   * @returns {boolean}  Whether it is stored.
   */
  add(preset) {
    this.all = [...this.all.filter(({ name }) => name !== preset.name), preset].slice(-MOST);
    return store(this.kept, KEPT, this.all);
  }

  /** @param {string} name */
  remove(name) {
    this.all = this.all.filter((one) => one.name !== name);
    store(this.kept, KEPT, this.all);
  }
}

/**
 * Asks whether the preset of a link is to be set: anyone can make a link.
 *
 * @param {Preset} preset
 * @param {{name: string, from: string, to: string}[]} changes
 * @param {() => void} agreed
 */
function ask({ name }, changes, agreed) {
  // One question at a time: that of the newest link.
  document.getElementById("preset-dialog")?.remove();
  const title = freshId("preset-title");
  const rows = changes.map(({ name: of, from, to }) => el("div", {}, el("dt", {}, of), el("dd", {}, el("del", {}, from), " ", el("ins", {}, to))));
  const words = changes.length === 0 ? "It changes nothing." : "The link changes these parameters:";
  const dialog = el("dialog", { id: "preset-dialog", "aria-labelledby": title },
    el("form", { method: "dialog" },
      el("h2", { id: title }, `Set the preset “${name}”?`), el("p", {}, words), el("dl", { class: "preset-changes" }, ...rows),
      el("button", { type: "submit", class: "main-button", value: "set" }, "Set it"),
      el("button", { type: "submit", value: "" }, "Leave all as it is")));
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (dialog.returnValue === "set") agreed();
  });
  document.body.append(dialog);
  dialog.showModal();
}

/**
 * Creates the group of presets.
 *
 * @param {Catalogue} catalogue
 * @param {{params: () => Params, change: (changes: Params) => void, say: (text: string, advice: string, tone?: "good") => void}} page
 * @returns {{element: HTMLElement, take: (text: string) => boolean}}  `take` asks whether to use and keep the preset of a link, if it has one.
 */
export function presets(catalogue, { params, change, say }) {
  const own = new Presets(storage());
  const list = el("div", { class: "items own-presets" });
  const name = el("input", { type: "text", id: freshId("preset"), maxLength: LONGEST_NAME, placeholder: "Name of a preset", "aria-label": "Name of a new preset" });
  const link = el("input", { type: "text", id: freshId("preset-link"), placeholder: "Link to a preset", "aria-label": "Link to a preset" });
  const apply = (/** @type {Preset} */ preset) => change(paramsOf(preset, catalogue.defaults));
  const keep = (/** @type {Preset} */ preset) => {
    if (!own.add(preset)) say("This browser does not keep presets.", "Copy their links instead.");
    draw();
  };
  const copy = async (/** @type {Preset} */ preset) => {
    const url = toLink(location.href, preset);
    if (!url) return say("This preset is too long for a link.", "Shorten its prompts.");
    try {
      await navigator.clipboard.writeText(url);
      say("The link is copied.", `It sets the preset “${preset.name}” on this server.`, "good");
    } catch {
      // Without https a page may not copy; then the text is selected for copying manually.
      link.value = url;
      link.select();
    }
  };
  const draw = () => list.replaceChildren(...own.all.map((preset) => el("div", { class: "pair" },
    el("button", { type: "button", class: "chip pair-name", onclick: () => apply(preset) }, preset.name),
    el("button", { type: "button", "aria-label": `Copy the link of the preset ${preset.name}`, onclick: () => void copy(preset) }, "Link"),
    el("button", { type: "button", class: "small", "aria-label": `Remove the preset ${preset.name}`, onclick: () => { own.remove(preset.name); draw(); } }, icon("close")))));
  const save = () => {
    const given = name.value.trim();
    if (!given) return name.focus();
    keep(presetOf(given, params(), catalogue.defaults));
    name.value = "";
  };
  const take = (/** @type {string} */ text) => {
    const preset = fromLink(text);
    if (!preset) return false;
    ask(preset, changesOf(preset, params(), catalogue.defaults), () => {
      keep(preset);
      apply(preset);
      say(`The preset “${preset.name}” is set.`, "It came with the link, and is among your presets.", "good");
    });
    return true;
  };
  const open = () => {
    if (!take(link.value)) return say("This is no link to a preset.", "Links to presets contain #preset=.");
    link.value = "";
  };
  const onEnter = (/** @type {() => void} */ act) => (/** @type {KeyboardEvent} */ event) => event.key === "Enter" && act();
  name.addEventListener("keydown", onEnter(save));
  link.addEventListener("keydown", onEnter(open));
  draw();
  const body = el("div", { class: "group-body" }, list,
    el("div", { class: "add-line" }, name, el("button", { type: "button", onclick: save }, "Save")),
    el("div", { class: "add-line" }, link, el("button", { type: "button", onclick: open }, "Open")));
  const element = el("details", { class: "panel group", id: "own-presets" }, el("summary", {}, el("h2", {}, "My presets")), body);
  return { element, take };
}
