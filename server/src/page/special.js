/** Controls for the two parameters that are neither numbers nor names: the style image, and LoRAs with their scales. */

import { mark, paint, refocus } from "./controls.js";
import { el, freshId, icon } from "./dom.js";
import { same } from "./params.js";

/** @typedef {import("./types.js").Control} Control */
/** @typedef {import("./controls.js").Widget} Widget */

/** A style image is read at 224 pixels; a larger one only takes longer to send. */
const SIDE = 512;

/**
 * A picture from this device, or its address.
 *
 * @param {Control} control
 * @param {(value: string) => void} change
 * @returns {Widget}
 */
export function styleImage(control, change) {
  const id = freshId(control.path);
  const image = el("img", { class: "style-image", alt: "The style image", hidden: true });
  const problem = el("p", { class: "note", role: "status" });
  const input = el("input", { type: "file", id, accept: "image/*" });
  input.addEventListener("change", async () => {
    const [chosen] = input.files ?? [];
    if (!chosen) return;
    try {
      change(await reduced(chosen));
      problem.textContent = "";
    } catch {
      problem.textContent = "The browser cannot read this picture. Try a JPEG or a PNG.";
    }
  });
  const url = el("input", { type: "url", placeholder: "or https://…", "aria-label": "Address of the style image" });
  url.addEventListener("change", () => change(url.value.trim()));
  const remove = el("button", { type: "button", class: "text-button", onclick: () => change("") }, icon("close"), "Remove the style image");
  const element = el("div", { class: "row", "data-path": control.path, "data-help": control.help }, el("label", { class: "name", for: id }, control.label), image, input, url, remove, problem);
  const show = (/** @type {any} */ value) => {
    const text = String(value ?? "");
    const inline = text.startsWith("data:image/");
    image.hidden = !inline;
    if (inline && image.src !== text) image.src = text;
    if (document.activeElement !== url) url.value = inline ? "" : text;
    remove.hidden = text === "";
  };
  return { element, show };
}

/**
 * Converts a picture to a data URL, scaled down if possible.
 *
 * @param {Blob} blob
 */
async function reduced(blob) {
  const bitmap = await createImageBitmap(blob);
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = el("canvas", { width: Math.round(bitmap.width * scale), height: Math.round(bitmap.height * scale) });
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.toDataURL("image/jpeg", 0.9);
}

/**
 * Names with scales.
 *
 * @param {Control} control
 * @param {(value: Record<string, number> | null) => void} change
 * @returns {Widget}
 */
export function loras(control, change) {
  const rows = el("div", { class: "pairs" });
  /** @type {Record<string, number>} */
  let all = {};
  const put = (/** @type {Record<string, number>} */ next) => change(Object.keys(next).length === 0 ? null : next);
  const row = (/** @type {[string, number]} */ [name, scale]) => {
    const range = el("input", { type: "range", min: "-1", max: "2", step: "0.05", value: String(scale), "aria-label": `Scale of ${name}` });
    paint(range);
    range.addEventListener("change", () => put({ ...all, [name]: Number(range.value) }));
    range.addEventListener("input", () => paint(range));
    const remove = el("button", { type: "button", class: "small", "aria-label": `Remove ${name}`, onclick: () => put(Object.fromEntries(Object.entries(all).filter(([other]) => other !== name))) }, icon("close"));
    return el("div", { class: "pair" }, el("span", { class: "pair-name" }, name), range, remove);
  };
  const input = el("input", { type: "text", id: freshId(control.path), placeholder: "Hub id or file", spellcheck: false, autocomplete: "off" });
  const form = el("form", { class: "add-line" }, input, el("button", { type: "submit" }, "Add"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = input.value.trim();
    if (!name) return input.focus();
    put({ ...all, [name]: 1 });
    input.value = "";
  });
  const label = el("label", { class: "name", for: input.id }, control.label, mark(control));
  const element = el("div", { class: "row", "data-path": control.path, "data-help": control.help }, el("div", { class: "row-head" }, label), rows, form);
  const show = (/** @type {any} */ value) => {
    const next = value ?? {};
    if (same(next, all)) return;
    all = next;
    const again = refocus(rows);
    rows.replaceChildren(...Object.entries(all).map(row));
    again();
    form.hidden = Object.keys(all).length >= (control.most ?? 16);
  };
  return { element, show };
}
