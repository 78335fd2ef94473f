/** Parameters as plain data: reading, writing and comparing them by path. */

/** @typedef {import("./types.js").Params} Params */

/**
 * Reads `ip_adapter.scale` and the like.
 *
 * @param {Params} params
 * @param {string} path
 * @returns {any}
 */
export function read(params, path) {
  return path.split(".").reduce((/** @type {any} */ value, name) => value?.[name], params);
}

/**
 * Returns the change of the top-level field that sets `value` at `path`: the server replaces whole fields.
 *
 * @param {Params} params
 * @param {string} path
 * @param {any} value
 * @returns {Params}
 */
export function change(params, path, value) {
  const [top = "", ...rest] = path.split(".");
  return { [top]: put(params[top], rest, value) };
}

/**
 * @param {any} into
 * @param {string[]} names
 * @param {any} value
 * @returns {any}
 */
function put(into, names, value) {
  const [name, ...rest] = names;
  return name === undefined ? value : { ...into, [name]: put(into?.[name], rest, value) };
}

/**
 * Compares two values of parameters.
 *
 * @param {any} a
 * @param {any} b
 * @returns {boolean}
 */
export function same(a, b) {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => name in b && same(a[name], b[name]));
}

/**
 * Converts a single value or a list of pairs to a list of pairs.
 *
 * @template T
 * @param {T | [T, number][]} value
 * @returns {[T, number][]}
 */
export function toPairs(value) {
  return Array.isArray(value) ? value : [[value, 1]];
}

/**
 * Converts a list of one pair to a single value; its weight has no effect then.
 *
 * @template T
 * @param {[T, number][]} pairs
 * @returns {T | [T, number][]}
 */
export function fromPairs(pairs) {
  const [first] = pairs;
  return pairs.length === 1 && first !== undefined ? first[0] : pairs;
}

/**
 * Clamps a number to its bounds and rounds it to a step; `undefined` if it is not a number.
 *
 * @param {number} value
 * @param {{min?: number, max?: number, step?: number}} bounds
 */
export function fit(value, { min = -Infinity, max = Infinity, step }) {
  if (!Number.isFinite(value)) return undefined;
  const stepped = step === undefined ? value : Math.round(value / step) * step;
  // Removes the rounding error of binary steps such as 0.01.
  return Number(Math.min(max, Math.max(min, stepped)).toFixed(6));
}
