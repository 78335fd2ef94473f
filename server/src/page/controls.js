/** Controls for single values: a switch, a slider with a number, a choice, a text. Each can show a new value. */

import { icon, el, freshId } from "./dom.js";
import { fit, fromPairs, same, toPairs } from "./params.js";

/** @typedef {import("./types.js").Control} Control */
/** @typedef {{element: HTMLElement, show: (value: any) => void}} Widget */
/** @typedef {(value: any) => void} Change */

/** The labels of costs on the page; changes between two frames need none. */
const MARKS = /** @type {Record<string, [string, string]>} */ ({
  load: ["loads a network", "Another network is loaded while the picture continues."],
  rebuild: ["second pipeline", "A second pipeline is built and then replaces the first."],
});

/**
 * Creates the control of a parameter, with its label, help and cost.
 *
 * @param {Control} control
 * @param {Change} change
 * @returns {Widget}
 */
export function widget(control, change) {
  switch (control.kind) {
    case "switch":
      return toggle(control, change);
    case "integer":
    case "number":
      return control.max !== undefined && control.max <= 1e6 ? slider(control, change) : plainNumber(control, change);
    case "choice":
      return choice(control, change);
    case "list":
      return numbers(control, change);
    case "weighted":
      return seeds(control, change);
    default:
      return text(control, change);
  }
}

/**
 * @param {Control} control
 * @param {Change} change
 * @returns {Widget}
 */
function toggle(control, change) {
  const id = freshId(control.path);
  const input = el("input", { type: "checkbox", id, role: "switch", onchange: () => change(input.checked) });
  const element = el("div", { class: "row row-switch", "data-path": control.path, "data-help": help(control) }, name(control, id), input);
  describe(input, element, control);
  return { element, show: (value) => (input.checked = Boolean(value)) };
}

/**
 * A slider for the usual part of the range, and a number for all of it.
 *
 * @param {Control} control
 * @param {Change} change
 * @returns {Widget}
 */
export function slider(control, change) {
  const id = freshId(control.path);
  const [low, high] = control.span ?? [control.min ?? 0, control.max ?? 1];
  const step = control.kind === "integer" ? control.step : high - low <= 2 ? 0.01 : 0.05;
  const range = el("input", { type: "range", id, min: String(low), max: String(high), step: String(step) });
  const number = el("input", { type: "number", class: "number", "aria-label": `${control.label}, as a number`, min: String(control.min), max: String(control.max), step: "any", inputMode: "decimal" });
  range.addEventListener("input", () => {
    number.value = range.value;
    paint(range);
    change(Number(range.value));
  });
  const typed = () => {
    const value = fit(number.valueAsNumber, control.kind === "integer" ? control : { min: control.min, max: control.max });
    if (value === undefined) return show(last);
    show(value);
    change(value);
  };
  number.addEventListener("change", typed);
  let last = low;
  const show = (/** @type {any} */ value) => {
    last = Number(value ?? low);
    range.max = String(Math.max(high, last));
    range.value = String(last);
    paint(range);
    if (document.activeElement !== number || number.valueAsNumber !== last) number.value = String(last);
  };
  const head = el("div", { class: "row-head" }, name(control, id), number);
  const element = el("div", { class: "row", "data-path": control.path, "data-help": help(control) }, head, range);
  describe(range, element, control);
  show(low);
  return { element, show };
}

/**
 * Sets the filled part of a slider for the style sheet.
 *
 * @param {HTMLInputElement} range
 */
export function paint(range) {
  const share = (Number(range.value) - Number(range.min)) / (Number(range.max) - Number(range.min) || 1);
  range.style.setProperty("--share", String(share));
}

/**
 * @param {Control} control
 * @param {Change} change
 * @returns {Widget}
 */
function plainNumber(control, change) {
  const id = freshId(control.path);
  const input = el("input", { type: "number", id, class: "number wide", min: String(control.min), max: String(control.max), step: "any" });
  input.addEventListener("change", () => {
    const value = fit(input.valueAsNumber, control);
    if (value !== undefined) change(value);
  });
  const element = el("div", { class: "row row-switch", "data-path": control.path, "data-help": help(control) }, name(control, id), input);
  describe(input, element, control);
  return { element, show: (value) => (input.value = String(value ?? "")) };
}

/**
 * @param {Control} control
 * @param {Change} change
 * @returns {Widget}
 */
export function choice(control, change) {
  const id = freshId(control.path);
  const options = (control.choices ?? []).map(({ value, label, help }) => el("option", { value, title: help ?? "" }, label));
  const select = el("select", { id, onchange: () => change(select.value === "" ? null : select.value) }, ...options);
  const element = el("div", { class: "row row-switch", "data-path": control.path, "data-help": help(control) }, name(control, id), select);
  describe(select, element, control);
  const show = (/** @type {any} */ value) => {
    const wanted = String(value ?? "");
    // A name that another client has set and that is not among the choices.
    if (![...select.options].some((option) => option.value === wanted)) select.append(el("option", { value: wanted }, wanted));
    select.value = wanted;
  };
  return { element, show };
}

/**
 * @param {Control} control
 * @param {Change} change
 * @returns {Widget}
 */
export function text(control, change) {
  const id = freshId(control.path);
  const suggestions = control.suggestions ?? [];
  const list = el("datalist", { id: `${id}-list` }, ...suggestions.map((value) => el("option", { value })));
  const input = el("input", { type: "text", id, spellcheck: false, autocomplete: "off", onchange: () => change(input.value.trim()) });
  if (suggestions.length > 0) input.setAttribute("list", list.id);
  const element = el("div", { class: "row", "data-path": control.path, "data-help": help(control) }, el("div", { class: "row-head" }, name(control, id)), input, list);
  describe(input, element, control);
  return { element, show: (value) => document.activeElement !== input && (input.value = String(value ?? "")) };
}

/**
 * A non-decreasing list of numbers, such as the indices of timesteps.
 *
 * @param {Control} control
 * @param {Change} change
 * @returns {Widget}
 */
function numbers(control, change) {
  const cells = el("div", { class: "cells", role: "group", "aria-label": control.label });
  /** @type {number[]} */
  let list = [];
  const put = (/** @type {number[]} */ next) => change([...next].sort((a, b) => a - b));
  const cell = (/** @type {number} */ value, /** @type {number} */ at) => {
    const input = el("input", { type: "number", class: "number", value: String(value), min: String(control.min), max: String(control.max), "aria-label": `${control.label}, ${at + 1} of ${list.length}` });
    input.addEventListener("change", () => {
      const fitted = fit(input.valueAsNumber, control);
      if (fitted === undefined) input.value = String(value);
      else put(list.with(at, fitted));
    });
    return input;
  };
  const show = (/** @type {any} */ value) => {
    if (same(list, value) && cells.childElementCount > 0) return;
    list = Array.isArray(value) ? value : [];
    const again = refocus(cells);
    const fewer = list.length > 1 && el("button", { type: "button", class: "small", "aria-label": "One row fewer", onclick: () => put(list.slice(0, -1)) }, icon("minus"));
    const more = list.length < (control.most ?? 4) && el("button", { type: "button", class: "small", "aria-label": "One row more", onclick: () => put([...list, Math.min((list.at(-1) ?? 0) + 5, control.max ?? 99)]) }, icon("plus"));
    cells.replaceChildren(...list.map(cell), ...[fewer, more].filter((button) => button !== false));
    again();
  };
  const element = el("div", { class: "row", "data-path": control.path, "data-help": help(control) }, el("div", { class: "row-head" }, el("span", { class: "name" }, control.label, mark(control))), cells);
  return { element, show };
}

/**
 * One seed, or several with weights.
 *
 * @param {Control} control
 * @param {Change} change
 * @returns {Widget}
 */
function seeds(control, change) {
  const rows = el("div", { class: "pairs" });
  /** @type {[number, number][]} */
  let pairs = [];
  const put = (/** @type {[number, number][]} */ next) => change(fromPairs(next));
  const random = () => Math.floor(Math.random() * 1e6);
  const row = (/** @type {[number, number]} */ [seed, weight], /** @type {number} */ at) => {
    const input = el("input", { type: "number", class: "number wide", value: String(seed), min: "0", max: String(control.max), "aria-label": pairs.length > 1 ? `Seed ${at + 1}` : "Seed" });
    input.addEventListener("change", () => {
      const fitted = fit(input.valueAsNumber, control);
      if (fitted === undefined) input.value = String(seed);
      else put(pairs.with(at, [fitted, weight]));
    });
    const dice = el("button", { type: "button", class: "small", "aria-label": `Another seed${pairs.length > 1 ? ` in place of seed ${at + 1}` : ""}`, onclick: () => put(pairs.with(at, [random(), weight])) }, icon("dice"));
    if (pairs.length === 1) return el("div", { class: "pair" }, input, dice);
    const range = el("input", { type: "range", min: "0", max: "1", step: "0.01", value: String(weight), "aria-label": `Weight of seed ${at + 1}` });
    paint(range);
    range.addEventListener("input", () => {
      paint(range);
      pairs = pairs.with(at, [seed, Number(range.value)]);
      put(pairs);
    });
    const remove = el("button", { type: "button", class: "small", "aria-label": `Remove seed ${at + 1}`, onclick: () => put(pairs.toSpliced(at, 1)) }, icon("close"));
    return el("div", { class: "pair" }, input, range, dice, remove);
  };
  const show = (/** @type {any} */ value) => {
    const next = toPairs(value ?? 0);
    if (same(pairs, next) && rows.childElementCount > 0) return;
    pairs = next;
    const again = refocus(rows);
    const more = pairs.length < (control.most ?? 4) && el("button", { type: "button", class: "text-button", onclick: () => put([...pairs, [random(), 1]]) }, icon("plus"), "Blend another seed");
    rows.replaceChildren(...pairs.map(row), ...(more ? [more] : []));
    again();
  };
  const element = el("div", { class: "row", "data-path": control.path, "data-help": help(control) }, el("div", { class: "row-head" }, el("span", { class: "name" }, control.label)), rows);
  return { element, show };
}

/**
 * Remembers which control of a list has the focus, by its index, and restores it after the list was redrawn.
 *
 * @param {HTMLElement} list
 * @returns {() => void}
 */
export function refocus(list) {
  const all = () => [...list.querySelectorAll("input, button, select, textarea")];
  const at = document.activeElement ? all().indexOf(document.activeElement) : -1;
  return () => {
    const found = at < 0 ? undefined : (all()[at] ?? all().at(-1));
    if (found instanceof HTMLElement) found.focus();
  };
}

/**
 * @param {Control} control
 * @param {string} id
 */
function name(control, id) {
  return el("label", { class: "name", for: id }, control.label, mark(control));
}

/**
 * Describes the cost of a change, if it is more than a frame.
 *
 * @param {Control} control
 */
export function mark({ cost }) {
  const [words, title] = MARKS[cost] ?? [];
  return words ? el("span", { class: `cost cost-${cost}`, title }, words) : undefined;
}

/** @param {Control} control */
function help(control) {
  return control.help;
}

/**
 * Provides the help text to screen readers.
 *
 * @param {HTMLElement} input
 * @param {HTMLElement} element
 * @param {Control} control
 */
function describe(input, element, control) {
  if (!control.help) return;
  const id = freshId("help");
  input.setAttribute("aria-describedby", id);
  element.append(el("span", { id, class: "unseen" }, control.help));
}
