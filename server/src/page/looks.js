/** Prompts to start from, by model. */

/**
 * Looks that the demo model was trained on.
 *
 * @type {[string, string][]}
 */
const DEMO = [
  ["Stained glass", "stained glass window"],
  ["Ink", "ink line art"],
  ["Engraving", "a copper engraving"],
  ["Linocut", "a linocut print"],
  ["Chalk", "a chalk drawing"],
  ["Blueprint", "a blueprint"],
  ["Neon", "cyberpunk city, neon lights"],
  ["Van Gogh", "van gogh painting"],
  ["Mosaic", "a mosaic"],
  ["Pop art", "pop art"],
  ["Pixel art", "pixel art"],
  ["LED wall", "an led wall"],
  ["Knitted", "a knitted sweater pattern"],
  ["Watercolour", "a watercolor painting"],
  ["Pencil", "a pencil sketch"],
  ["Thermal", "thermal camera"],
  ["Bronze", "bronze statue"],
  ["Noir", "film noir"],
  ["Winter", "snowy winter"],
  ["Night", "moonlit night"],
];

/**
 * Prompts for a model that knows many words.
 *
 * @type {[string, string][]}
 */
const ANY = [
  ["Oil", "oil painting, thick brush strokes, warm light"],
  ["Anime", "anime film still, soft light, detailed background"],
  ["Clay", "claymation, plasticine figures, studio light"],
  ["Paper", "layered paper cut-out, soft shadows"],
  ["Neon", "neon city at night, rain, reflections"],
  ["Ink", "ink drawing on rice paper, bold strokes"],
  ["Marble", "marble statue, museum light"],
  ["Forest", "overgrown with moss and flowers, fairy tale"],
];

/**
 * Lists prompts that suit a model, each with a short name.
 *
 * @param {string} model
 */
export function looksFor(model) {
  return model === "demo" ? DEMO : ANY;
}
