/** What the page keeps in this browser: presets, mappings and lists of prompts. */

/** @typedef {Pick<globalThis.Storage, "getItem" | "setItem">} Storage */

/**
 * Returns the browser's storage; one that keeps nothing where the browser forbids it.
 *
 * @returns {Storage}
 */
export function storage() {
  try {
    return globalThis.localStorage ?? { getItem: () => null, setItem: () => {} };
  } catch {
    return { getItem: () => null, setItem: () => {} };
  }
}

/**
 * Reads a value; `otherwise` if there is none, or it is of another kind.
 *
 * @template T
 * @param {Storage} from
 * @param {string} name
 * @param {(value: any) => T | undefined} parse
 * @param {T} otherwise
 * @returns {T}
 */
export function load(from, name, parse, otherwise) {
  try {
    return parse(JSON.parse(from.getItem(name) ?? "null")) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/**
 * Stores a value.
 *
 * @param {Storage} to
 * @param {string} name
 * @param {any} value
 * @returns {boolean}  Whether it is stored: the storage may be full, or forbidden.
 */
export function store(to, name, value) {
  try {
    to.setItem(name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
