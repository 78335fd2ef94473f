/** The demo model's own ControlNets and LoRA, each as a switch. */

import { el } from "./dom.js";

/** @typedef {import("./types.js").Params} Params */

/**
 * @typedef {object} Extra
 * @property {string} name
 * @property {string} help
 * @property {(params: Params) => boolean} isOn
 * @property {(params: Params, on: boolean) => Params} changes  What turns it on or off.
 */

/**
 * @param {string} name
 * @param {string} help
 * @param {{id: string, preprocessor: string, scale: number}} net
 * @returns {Extra}
 */
function controlnet(name, help, { id, preprocessor, scale }) {
  const list = (/** @type {Params} */ params) => /** @type {Params[]} */ (params.controlnets ?? []);
  return {
    name,
    help,
    isOn: (params) => list(params).some(({ model_id, enabled }) => model_id === id && enabled !== false),
    changes: (params, on) => {
      const others = list(params).filter(({ model_id }) => model_id !== id);
      const own = { model_id: id, conditioning_scale: scale, preprocessor, preprocessor_params: {}, enabled: true };
      return { controlnets: on ? [...others, own] : others };
    },
  };
}

/**
 * @param {string} name
 * @param {string} help
 * @param {string} id
 * @returns {Extra}
 */
function lora(name, help, id) {
  const all = (/** @type {Params} */ params) => /** @type {Record<string, number>} */ (params.lora_dict ?? {});
  return {
    name,
    help,
    isOn: (params) => id in all(params),
    changes: (params, on) => {
      const next = Object.entries(all(params)).filter(([other]) => other !== id);
      if (on) next.push([id, 1]);
      return { lora_dict: next.length > 0 ? Object.fromEntries(next) : null };
    },
  };
}

/** @type {Extra[]} */
export const EXTRAS = [
  controlnet("Keep lines", "ControlNet: the picture follows the edges of the source.", { id: "demo-canny", preprocessor: "canny", scale: 0.8 }),
  controlnet("Keep shapes", "ControlNet: the picture follows the soft edges of the source.", { id: "demo-softedge", preprocessor: "soft_edge", scale: 0.8 }),
  lora("Hologram", "LoRA: a style that the model was not trained on.", "demo-lora-hologram"),
];

/**
 * Creates the switches; they are hidden for other models.
 *
 * @param {(changes: Params) => void} change
 * @returns {{element: HTMLElement, show: (params: Params, isDemo: boolean) => void}}
 */
export function extras(change) {
  /** @type {Params} */
  let current = {};
  const buttons = EXTRAS.map((extra) => el("button", { type: "button", class: "chip", title: extra.help, onclick: () => change(extra.changes(current, !extra.isOn(current))) }, extra.name));
  const element = el("div", { class: "chips", role: "group", "aria-label": "Networks of the demo model" }, ...buttons);
  const show = (/** @type {Params} */ params, /** @type {boolean} */ isDemo) => {
    current = params;
    element.hidden = !isDemo;
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(EXTRAS[at]?.isOn(params))));
  };
  return { element, show };
}
