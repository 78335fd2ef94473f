/** Lists of objects: the processors of a chain, and ControlNets. An item is changed in place; the whole list is sent. */

import { refocus, widget } from "./controls.js";
import { el, icon } from "./dom.js";
import { same } from "./params.js";
import { choices, control, node, processorsFor } from "./schema.js";

/** @typedef {import("./types.js").Catalogue} Catalogue */
/** @typedef {import("./types.js").Control} Control */
/** @typedef {import("./types.js").Params} Params */
/** @typedef {import("./controls.js").Widget} Widget */

/**
 * The differences between the two kinds of lists.
 *
 * @typedef {object} Kind
 * @property {(item: Params, at: number) => string} title
 * @property {(item: Params) => Control[]} controls
 * @property {(item: Params, path: string, value: any) => Params} change
 * @property {(item: Params, path: string) => any} read
 * @property {boolean} sorted  Whether the order matters.
 */

/**
 * Draws a list of items; `rows.show` redraws it only if its shape has changed, else it updates the controls.
 *
 * @param {Kind} kind
 * @param {(list: Params[]) => void} change
 * @returns {Widget}
 */
function rows(kind, change) {
  const element = el("ol", { class: "items" });
  /** @type {Params[]} */
  let list = [];
  /** @type {Map<string, Widget>[]} */
  let widgets = [];
  const put = (/** @type {Params[]} */ next) => change(next);

  const row = (/** @type {Params} */ item, /** @type {number} */ at) => {
    const title = kind.title(item, at);
    const shown = new Map();
    for (const one of kind.controls(item)) {
      const made = widget(one, (value) => put(list.with(at, kind.change(list[at] ?? item, one.path, value))));
      made.show(kind.read(item, one.path));
      shown.set(one.path, made);
    }
    widgets.push(shown);
    const swap = (/** @type {number} */ to) => put(list.toSpliced(at, 1).toSpliced(to, 0, list[at] ?? item));
    const tools = [
      kind.sorted && at > 0 && button("up", `Move ${title} up`, () => swap(at - 1)),
      kind.sorted && at < list.length - 1 && button("down", `Move ${title} down`, () => swap(at + 1)),
      button("close", `Remove ${title}`, () => put(list.toSpliced(at, 1))),
    ];
    const head = el("div", { class: "item-head" }, el("h4", {}, title), el("div", { class: "tools" }, ...tools));
    return el("li", { class: "item" }, head, ...[...shown.values()].map((one) => one.element));
  };

  const shape = (/** @type {Params} */ item, /** @type {number} */ at) => [kind.title(item, at), ...kind.controls(item).map(({ path }) => path)];
  const show = (/** @type {any} */ value) => {
    const next = Array.isArray(value) ? value : [];
    const again = same(next.map(shape), list.map(shape));
    list = next;
    if (again) {
      widgets.forEach((shown, at) => shown.forEach((one, path) => one.show(kind.read(list[at] ?? {}, path))));
      return;
    }
    const focus = refocus(element);
    widgets = [];
    element.replaceChildren(...list.map(row));
    focus();
  };
  return { element, show };
}

/**
 * @param {string} sign
 * @param {string} label
 * @param {() => void} onclick
 */
function button(sign, label, onclick) {
  return el("button", { type: "button", class: "small", "aria-label": label, onclick }, icon(sign));
}

/**
 * Describes the parameters of a processor.
 *
 * @param {Catalogue} catalogue
 * @param {string} name
 * @param {string} under  The field that contains them.
 * @returns {Control[]}
 */
function settings(catalogue, name, under) {
  const properties = catalogue.processors[name]?.schema.properties ?? {};
  return Object.entries(properties).map(([key, found]) => {
    const one = control(`${under}.${key}`, {}, found);
    return { ...one, label: control(key, {}, found).label, span: spanOf(found), help: one.help || `Of the processor ${name}.` };
  });
}

/**
 * Limits the sliders of thresholds and sizes to the useful part of their range.
 *
 * @param {any} found
 * @returns {[number, number] | undefined}
 */
function spanOf(found) {
  const { default: usual, minimum, maximum } = found;
  if (typeof usual !== "number" || typeof maximum !== "number" || maximum <= 2) return undefined;
  return [minimum, Math.min(maximum, Math.max(usual * 4, minimum + 4))];
}

/**
 * Reads `params.low_threshold` of an item; or the default if it has none.
 *
 * @param {Catalogue} catalogue
 * @param {string} under
 * @param {string} type
 */
function reader(catalogue, under, type) {
  const list = type === "type" ? "image_preprocessing.processors[]" : "controlnets[]";
  return (/** @type {Params} */ item, /** @type {string} */ path) => {
    const [top = "", key] = path.split(".");
    if (key === undefined) return item[top] ?? node(catalogue.schema, `${list}.${top}`)?.default;
    return item[under]?.[key] ?? catalogue.processors[item[type]]?.schema.properties?.[key]?.default;
  };
}

/**
 * @param {Params} item
 * @param {string} path
 * @param {any} value
 */
function writer(item, path, value) {
  const [top = "", key] = path.split(".");
  return key === undefined ? { ...item, [top]: value } : { ...item, [top]: { ...item[top], [key]: value } };
}

/**
 * The processors of a chain, in order.
 *
 * @param {Control} chain
 * @param {Catalogue} catalogue
 * @param {(value: any) => void} change
 * @returns {Widget}
 */
export function chain(chain, catalogue, change) {
  const path = `${chain.path}.processors[]`;
  const enabled = control("enabled", {}, node(catalogue.schema, `${path}.enabled`));
  const names = choices(node(catalogue.schema, `${path}.type`));
  const word = (/** @type {string} */ name) => names.find(({ value }) => value === name)?.label ?? name;
  let on = true;
  const list = rows(
    {
      title: (item) => word(item.type),
      controls: (item) => [enabled, ...settings(catalogue, item.type, "params")],
      change: writer,
      read: reader(catalogue, "params", "type"),
      sorted: true,
    },
    (processors) => change({ enabled: on, processors }),
  );
  const offered = processorsFor(catalogue, chain.path.startsWith("latent"));
  const options = offered.map((name) => {
    const { help } = names.find(({ value }) => value === name) ?? {};
    return el("option", { value: name }, help ? `${word(name)}: ${help.replace(/\.$/, "").toLowerCase()}` : word(name));
  });
  /** @type {Params[]} */
  let present = [];
  const add = el("select", { class: "add", "aria-label": `Add a processor to ${chain.label.toLowerCase()}` }, el("option", { value: "" }, "Add a processor…"), ...options);
  add.addEventListener("change", () => {
    if (!add.value) return;
    change({ enabled: true, processors: [...present, { type: add.value, enabled: true, params: {} }] });
    add.value = "";
  });
  const element = el("div", { class: "row chain", "data-path": chain.path, "data-help": chain.help }, el("h4", { class: "name" }, chain.label), list.element, add);
  const show = (/** @type {any} */ value) => {
    on = value?.enabled ?? true;
    present = value?.processors ?? [];
    add.hidden = present.length >= (chain.most ?? 16);
    list.show(present);
  };
  return { element, show };
}

/**
 * The ControlNets, and a line to add one.
 *
 * @param {Catalogue} catalogue
 * @param {(list: Params[]) => void} change
 * @returns {{element: HTMLElement, show: (list: any, model: string) => void}}
 */
export function controlnets(catalogue, change) {
  const at = (/** @type {string} */ name) => node(catalogue.schema, `controlnets[].${name}`);
  const rank = (/** @type {string} */ name) => catalogue.fields.find(({ path }) => path === `controlnets[].${name}`) ?? {};
  const named = (/** @type {string} */ name) => control(name, rank(name), at(name));
  const usable = new Set([...processorsFor(catalogue, false), ""]);
  const preprocessor = named("preprocessor");
  preprocessor.choices = preprocessor.choices?.filter(({ value }) => usable.has(value));
  const fixed = [named("enabled"), named("conditioning_scale"), preprocessor];
  const range = [named("control_guidance_start"), named("control_guidance_end")];
  const list = rows(
    {
      title: (item) => String(item.model_id).split("/").at(-1) ?? "ControlNet",
      controls: (item) => [...fixed, ...settings(catalogue, item.preprocessor ?? "", "preprocessor_params"), ...range],
      // The parameters of one preprocessor are invalid for another.
      change: (item, path, value) => writer(path === "preprocessor" ? { ...item, preprocessor_params: {} } : item, path, value),
      read: reader(catalogue, "preprocessor_params", "preprocessor"),
      sorted: false,
    },
    change,
  );
  /** @type {Params[]} */
  let present = [];
  const known = el("datalist", { id: "controlnet-ids" });
  const input = el("input", { type: "text", id: "controlnet-new", placeholder: "Hub id or folder", spellcheck: false, autocomplete: "off" });
  input.setAttribute("list", known.id);
  const note = el("p", { class: "note" });
  const form = el("form", { class: "add-line" }, el("label", { class: "unseen", for: input.id }, "ControlNet to add"), input, el("button", { type: "submit" }, "Add"), known);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const id = input.value.trim();
    if (!id || present.some(({ model_id }) => model_id === id)) return input.focus();
    change([...present, { model_id: id, conditioning_scale: 0.5, preprocessor: guess(id, usable), preprocessor_params: {}, enabled: true }]);
    input.value = "";
  });
  const element = el("div", { class: "controlnets" }, list.element, form, note);
  const show = (/** @type {any} */ value, /** @type {string} */ model) => {
    present = Array.isArray(value) ? value : [];
    list.show(present);
    const isDemo = catalogue.demo_alone || model === "demo";
    const fitting = catalogue.models[isDemo ? "demo" : model]?.controlnets ?? [];
    known.replaceChildren(...fitting.map((id) => el("option", { value: id })));
    form.hidden = present.length >= (node(catalogue.schema, "controlnets")?.maxItems ?? 8);
    note.textContent = isDemo ? `ControlNets keep the edges, depth or pose of the source. The demo model has ${fitting.join(" and ")}.` : "";
  };
  return { element, show };
}

/**
 * Guesses by its name which control image a network was trained on.
 *
 * @param {string} id
 * @param {Set<string>} usable
 */
function guess(id, usable) {
  if (/softedge/i.test(id)) return "soft_edge";
  const name = /(canny|depth|openpose|hed|lineart)/i.exec(id)?.[1]?.toLowerCase();
  return name !== undefined && usable.has(name) ? name : null;
}
