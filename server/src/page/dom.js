/** Creates elements in one expression. Text is never parsed as HTML. */

/**
 * Makes an element. Properties are set as such, except `class`, `for`, `data-*`, `aria-*` and `role`; those that begin
 * with `on` are listeners, and those that are `undefined` or `false` are skipped.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === false || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (/^(class|for|role|list|(data|aria)-.*)$/.test(name)) element.setAttribute(name, String(value));
    else Reflect.set(element, name, value);
  }
  element.append(...present(children));
  return element;
}

/**
 * Removes absent children.
 *
 * @param {(Node | string | null | undefined | false)[]} children
 * @returns {(Node | string)[]}
 */
export function present(children) {
  return /** @type {(Node | string)[]} */ (children.filter((child) => child !== null && child !== undefined && child !== false));
}

/**
 * Draws one of the icons that index.html defines; it is decoration, the text is next to it or in the button's label.
 *
 * @param {string} name
 * @returns {SVGElement}
 */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/**
 * Finds an element that exists on the page.
 *
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
export function byId(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`the page has no ${kind.name} with the id ${id}`);
  return element;
}

let lastId = 0;

/**
 * Returns a unique id.
 *
 * @param {string} stem
 */
export function freshId(stem) {
  lastId += 1;
  return `${stem.replace(/[^a-z0-9]+/gi, "-")}-${lastId}`;
}
