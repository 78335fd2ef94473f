/** The control panel: the look, parameters that change between two frames, ControlNets, and expensive ones. */

import { slider, widget } from "./controls.js";
import { el, freshId } from "./dom.js";
import { chain, controlnets } from "./items.js";
import { inWords, places, PRESETS, START } from "./look.js";
import { change as changeOf, read, same } from "./params.js";
import { styleImage, loras } from "./special.js";
import { controls, counts, groupOf, GROUPS } from "./schema.js";

/** @typedef {import("./types.js").Catalogue} Catalogue */
/** @typedef {import("./types.js").Control} Control */
/** @typedef {import("./types.js").Params} Params */
/** @typedef {{element: HTMLElement, show: (params: Params) => void}} Part */

/** Groups that are open at first. */
const OPEN = new Set(["Guidance", "Seed and noise"]);

/**
 * Creates the panel.
 *
 * @param {Catalogue} catalogue
 * @param {(changes: Params) => void} change
 * @param {() => Params} params
 * @returns {Part}
 */
export function panel(catalogue, change, params) {
  const all = controls(catalogue);
  const isLive = (/** @type {Control} */ { cost }) => cost === "hot" || cost === "recompute";
  const field = (/** @type {Control} */ control) => part(control, catalogue, (value) => change(changeOf(params(), control.path, value)));
  const live = GROUPS.map(({ title }) => {
    const own = all.filter((control) => isLive(control) && groupOf(control.path) === title);
    return group(title, own.map(field), OPEN.has(title));
  });
  const heavy = all.filter((control) => !isLive(control)).map((control) => {
    const suggestions = control.path === "model_id" ? Object.keys(catalogue.models) : undefined;
    return field({ ...control, suggestions });
  });
  const nets = controlnets(catalogue, (list) => change({ controlnets: list }));
  const heavyNote = catalogue.demo_alone
    ? "The picture continues while these load. This server has the demo model only; start it with --models for others."
    : "The picture continues while these load.";
  /** @type {Part} */
  const netsPart = { element: nets.element, show: (now) => nets.show(now.controlnets, now.model_id) };
  const parts = [look(change, params), ...live, group("ControlNets", [netsPart], false), group("Heavier changes", heavy, false, heavyNote)];
  const element = el("div", { class: "groups" }, ...parts.map((one) => one.element));
  return { element, show: (now) => parts.forEach((one) => one.show(now)) };
}

/**
 * A control that is visible only while it has an effect.
 *
 * @param {Control} control
 * @param {Catalogue} catalogue
 * @param {(value: any) => void} change
 * @returns {Part}
 */
function part(control, catalogue, change) {
  const made = make(control, catalogue, change);
  const show = (/** @type {Params} */ params) => {
    made.element.hidden = !counts(control.path, params, catalogue);
    made.show(read(params, control.path));
  };
  return { element: made.element, show };
}

/**
 * @param {Control} control
 * @param {Catalogue} catalogue
 * @param {(value: any) => void} change
 */
function make(control, catalogue, change) {
  if (control.kind === "chain") return chain(control, catalogue, change);
  if (control.kind === "image") return styleImage(control, change);
  if (control.kind === "named") return loras(control, change);
  return widget(control, change);
}

/**
 * A collapsible group, which is visible only while one of its parts is.
 *
 * @param {string} title
 * @param {Part[]} parts
 * @param {boolean} open
 * @param {string} [note]
 * @returns {Part}
 */
function group(title, parts, open, note) {
  const body = el("div", { class: "group-body" }, note && el("p", { class: "note" }, note), ...parts.map((one) => one.element));
  const element = el("details", { class: "panel group", open }, el("summary", {}, el("h2", {}, title)), body);
  const show = (/** @type {Params} */ params) => {
    parts.forEach((one) => one.show(params));
    element.hidden = parts.every((one) => one.element.hidden);
  };
  return { element, show };
}

/**
 * Creativity and quality, and whole settings of both.
 *
 * @param {(changes: Params) => void} change
 * @param {() => Params} params
 * @returns {Part}
 */
function look(change, params) {
  let now = { ...START };
  const put = (/** @type {Partial<typeof now>} */ next) => {
    now = { ...now, ...next };
    move();
    change({ t_index_list: asked(params()) });
  };
  /** @param {Params} all */
  const asked = ({ num_inference_steps: steps, model_id: model }) => places(now, { steps, model });
  const creativity = slider({ path: "creativity", label: "Creativity", kind: "number", min: 0, max: 10, cost: "hot", help: "How far the picture may differ from the source." }, (value) => put({ creativity: value }));
  const quality = slider({ path: "quality", label: "Quality", kind: "number", min: 0, max: 1, cost: "hot", help: "The number of denoising steps of a picture: more is cleaner and slower." }, (value) => put({ quality: value }));
  const presets = PRESETS.map((preset) => el("button", { type: "button", class: "chip", title: preset.help, onclick: () => put(preset) }, preset.name));
  const words = el("p", { class: "note", id: freshId("look") });
  const move = () => {
    creativity.show(now.creativity);
    quality.show(now.quality);
  };
  const body = el("div", { class: "group-body" }, el("div", { class: "chips", role: "group", "aria-label": "Presets" }, ...presets), creativity.element, quality.element, words);
  const element = el("section", { class: "panel group", "aria-label": "Look" }, el("div", { class: "panel-head" }, el("h2", {}, "Look")), body);
  const show = (/** @type {Params} */ all) => {
    // Another list was set manually or by another client.
    const own = same(all.t_index_list, asked(all));
    words.textContent = `${own ? "Denoises in" : "Set by hand:"} ${inWords(all.t_index_list)}.`;
    presets.forEach((button, at) => {
      const { creativity: c, quality: q } = PRESETS[at] ?? START;
      button.setAttribute("aria-pressed", String(own && now.creativity === c && now.quality === q));
    });
  };
  move();
  return { element, show };
}
