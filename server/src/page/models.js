/** The models that the server's machine can run, with what the server estimates for each. */

import { el } from "./dom.js";
import { Trouble } from "./messages.js";

/**
 * @typedef {object} Recommendation  A model at one size.
 * @property {string} model
 * @property {number} width
 * @property {number} height
 * @property {number} pictures_per_second
 * @property {number} memory_bytes
 * @property {boolean | null} fits
 * @property {number | null} download_mb
 * @property {string} licence
 * @property {string | null} command
 */

/**
 * Describes what a model needs, in one line.
 *
 * @param {Recommendation} model
 */
export function inOneLine({ width, height, pictures_per_second: rate, memory_bytes: memory, fits, download_mb: download, licence }) {
  const pictures = rate < 0.95 ? rate.toPrecision(2) : rate.toFixed(1);
  const fetched = download === 0 ? "built in" : download === null ? "download size unknown" : `download ${(download / 1000).toFixed(1)} GB`;
  const needed = `memory ${(memory / 1e9).toFixed(1)} GB${fits === false ? ", more than is free" : ""}`;
  return `${width}×${height}, about ${pictures} pictures a second, ${needed}, ${fetched}, ${licence}`;
}

/**
 * Creates a group that lists the models once its button is pressed.
 *
 * @param {() => Promise<{models: Recommendation[]}>} ask
 * @returns {{element: HTMLElement}}
 */
export function machine(ask) {
  const said = el("p", { class: "note", role: "status" }, "The server measures its processor for about a second, while no stream runs.");
  const list = el("ul", { class: "models" });
  const button = el("button", { type: "button", class: "chip", onclick: () => void show() }, "What can this machine run?");
  const row = (/** @type {Recommendation} */ model) =>
    el("li", {}, el("strong", {}, model.model), ` ${inOneLine(model)}`, model.command && el("code", {}, model.command));
  async function show() {
    button.disabled = true;
    try {
      const { models } = await ask();
      list.replaceChildren(...models.map(row));
      said.textContent = "Estimates, the fastest first. The commands run on the server's machine.";
    } catch (error) {
      said.textContent = error instanceof Trouble ? error.message : String(error);
    }
    button.disabled = false;
  }
  const body = el("div", { class: "group-body" }, said, button, list);
  return { element: el("details", { class: "panel group" }, el("summary", {}, el("h2", {}, "Models for this machine")), body) };
}
