/**
 * "Creativity" and "quality": two sliders that choose the places in the grid of timesteps at which a frame is denoised.
 *
 * Quality (0 to 1) is the number of rows, 1 to 4, and within a quarter their distance. Creativity
 * (0 to 10) scales all of them: a lower place is noisier, and further from the source.
 */

/** How far apart the rows are, in places of a grid of 50. */
const APART = 6;
const GRID = 50;

/** Whole settings of both sliders. */
export const PRESETS = [
  { name: "Faithful", creativity: 1, quality: 0.3, help: "Close to the source." },
  { name: "Balanced", creativity: 5, quality: 0.4, help: "Between the source and the prompt." },
  { name: "Creativity", creativity: 9, quality: 0.4, help: "Far from the source: the prompt decides." },
  { name: "Quality", creativity: 5, quality: 0.8, help: "Four steps: cleaner pictures at a lower rate." },
];

/** The initial values of both sliders. */
export const START = { creativity: 5, quality: 0.4 };

/**
 * Start and end of the range, as shares of the grid. The demo model loses small shapes below place 30 of 50, so its range
 * is above; it extends past the end, where rows meet at the last place.
 *
 * @param {string} model
 * @returns {[number, number]}
 */
export function reach(model) {
  return model === "demo" ? [0.66, 1.15] : [0, 0.98];
}

/**
 * Returns `t_index_list`.
 *
 * @param {{creativity: number, quality: number}} look
 * @param {{steps: number, model: string}} grid
 * @returns {number[]}
 */
export function places({ creativity, quality }, { steps, model }) {
  const rows = Math.min(4, 1 + Math.floor(quality * 4));
  const spread = Math.min(quality * 4 - (rows - 1), 1) * APART;
  const scale = 2.32 - 0.132 * creativity;
  const [first, last] = reach(model);
  const list = [];
  for (let row = 1; row <= rows; row += 1) {
    const share = Math.min((row * APART + spread) * scale, GRID - 1) / (GRID - 1);
    const place = Math.round((first + share * (last - first)) * steps);
    list.push(Math.max(0, Math.min(steps - 1, place)));
  }
  return list;
}

/**
 * Describes a list of places as text.
 *
 * @param {number[]} list
 */
export function inWords(list) {
  const rows = list.length === 1 ? "1 row" : `${list.length} rows`;
  return `${rows} at ${list.join(", ")}`;
}
