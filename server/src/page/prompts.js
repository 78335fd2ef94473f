/** The prompt: one text, or several blended by weight; the negative prompt; and prompts to start from. */

import { choice, paint, refocus } from "./controls.js";
import { el, icon } from "./dom.js";
import { extras } from "./extras.js";
import { looksFor } from "./looks.js";
import { fromPairs, same, toPairs } from "./params.js";
import { playlist } from "./playlist.js";
import { control, idleNegative, node } from "./schema.js";

/** @typedef {import("./types.js").Catalogue} Catalogue */
/** @typedef {import("./types.js").Params} Params */

const MOST = 4;

/**
 * Creates the panel.
 *
 * @param {Catalogue} catalogue
 * @param {(changes: Params) => void} change
 * @param {(seconds: number) => void} fade  Sets the seconds in which a new prompt is reached.
 * @returns {{element: HTMLElement, show: (params: Params) => void}}
 */
export function prompts(catalogue, change, fade) {
  const rows = el("div", { class: "prompts" });
  /** @type {[string, number][]} */
  let pairs = [];
  let active = 0;
  const put = (/** @type {[string, number][]} */ next) => change({ prompt: fromPairs(next) });

  const row = (/** @type {[string, number]} */ [text, weight], /** @type {number} */ at) => {
    const many = pairs.length > 1;
    const label = many ? `Prompt ${at + 1} of ${pairs.length}` : "Prompt";
    const area = el("textarea", { id: `prompt-${at}`, rows: many ? 1 : 2, value: text, maxLength: 8192, placeholder: "Describe the picture", "aria-label": label });
    area.addEventListener("focus", () => (active = at));
    area.addEventListener("input", () => {
      pairs = pairs.with(at, [area.value, pairs[at]?.[1] ?? 1]);
      put(pairs);
    });
    if (!many) return el("div", { class: "prompt" }, area);
    const range = el("input", { type: "range", min: "0", max: "1", step: "0.01", value: String(weight), "aria-label": `Weight of prompt ${at + 1}` });
    const figure = el("output", { class: "weight", "aria-hidden": "true" }, weight.toFixed(2));
    paint(range);
    range.addEventListener("input", () => {
      paint(range);
      figure.value = Number(range.value).toFixed(2);
      pairs = pairs.with(at, [pairs[at]?.[0] ?? "", Number(range.value)]);
      put(pairs);
    });
    const remove = el("button", { type: "button", class: "small", "aria-label": `Remove prompt ${at + 1}`, onclick: () => put(pairs.toSpliced(at, 1)) }, icon("close"));
    return el("div", { class: "prompt blended" }, area, el("div", { class: "prompt-weight" }, range, figure, remove));
  };

  const draw = () => {
    const again = refocus(rows);
    rows.replaceChildren(...pairs.map(row));
    again();
  };

  const add = el("button", { type: "button", class: "text-button", onclick: () => {
    put([...pairs, ["", 0.5]]);
    document.getElementById(`prompt-${pairs.length - 1}`)?.focus();
  } }, icon("plus"), "Blend another prompt");

  const chips = el("div", { class: "chips", role: "group", "aria-label": "Prompts to start from" });
  let chipsOf = "";
  const drawChips = (/** @type {string} */ model) => {
    if (chipsOf === model) return;
    chipsOf = model;
    chips.replaceChildren(...looksFor(model).map(([name, prompt]) => el("button", { type: "button", class: "chip", title: prompt, "data-prompt": prompt, onclick: () => put(pairs.with(Math.min(active, pairs.length - 1), [prompt, pairs[active]?.[1] ?? 1])) }, name)));
  };

  const interpolation = choice(control("prompt_interpolation_method", {}, node(catalogue.schema, "prompt_interpolation_method")), (value) => change({ prompt_interpolation_method: value }));
  interpolation.element.querySelector("label")?.replaceChildren("Mixed");
  for (const option of interpolation.element.querySelectorAll("option")) {
    option.textContent = option.value === "slerp" ? "along the arc (slerp)" : option.value === "linear" ? "in a straight line (linear)" : option.value;
  }
  const normalise = el("input", { type: "checkbox", id: "normalise", role: "switch", onchange: () => change({ normalize_prompt_weights: normalise.checked }) });
  const blending = el("div", { class: "blending" }, interpolation.element, el("div", { class: "row row-switch" }, el("label", { class: "name", for: "normalise" }, "Weights add up to 1"), normalise));

  const negative = el("textarea", { id: "negative", rows: 1, maxLength: 8192, placeholder: "Describe what to avoid" });
  negative.addEventListener("input", () => change({ negative_prompt: negative.value }));
  let scale = 1;
  const use = el("button", { type: "button", class: "text-button", id: "negative-use", onclick: () => change({ cfg_type: "full", guidance_scale: scale > 1 ? scale : 1.5 }) }, "Use it, at twice the cost");
  const why = el("span", {});
  const idle = el("p", { class: "note", id: "negative-note" }, why, " ", use);
  const negativeField = el("details", { class: "folded", id: "negative-place" }, el("summary", {}, "Negative prompt"), el("label", { class: "unseen", for: "negative" }, "Negative prompt"), negative, idle);

  const more = extras(change);
  const list = playlist((prompt) => change({ prompt }), fade);
  const element = el("section", { class: "panel prompt-panel", "aria-labelledby": "prompt-title" },
    el("div", { class: "panel-head" }, el("h2", { id: "prompt-title" }, "Prompt"), add), rows, blending, chips, more.element, list.fade, list.element, negativeField);

  const show = (/** @type {Params} */ params) => {
    const next = toPairs(params.prompt ?? "");
    const typed = [...rows.querySelectorAll("textarea")].map((area) => area.value);
    const weights = [...rows.querySelectorAll("input")].map((range) => Number(range.value));
    const drawn = same(next.map(([text]) => text), typed) && (next.length === 1 || same(next.map(([, weight]) => weight), weights));
    pairs = next;
    if (!drawn) draw();
    blending.hidden = pairs.length < 2;
    add.hidden = pairs.length >= MOST;
    interpolation.show(params.prompt_interpolation_method);
    normalise.checked = Boolean(params.normalize_prompt_weights);
    if (negative.value !== params.negative_prompt && document.activeElement !== negative) negative.value = params.negative_prompt ?? "";
    const reason = idleNegative(params);
    scale = params.guidance_scale;
    why.textContent = reason;
    idle.hidden = reason === "";
    negative.disabled = reason !== "";
    if (reason === "") negative.removeAttribute("aria-describedby");
    else negative.setAttribute("aria-describedby", "negative-note");
    drawChips(params.model_id);
    more.show(params, catalogue.demo_alone || params.model_id === "demo");
    for (const chip of chips.querySelectorAll("button")) {
      chip.setAttribute("aria-pressed", String(pairs.some(([text]) => text === chip.dataset.prompt)));
    }
  };
  return { element, show };
}
