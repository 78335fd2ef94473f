/** Prompts to start from, by model. */

/**
 * Looks that the demo model was trained on.
 *
 * @type {[string, string][]}
 */
const DEMO = [
  ["Van Gogh", "van gogh painting"],
  ["Neon", "cyberpunk city, neon lights"],
  ["Pencil", "a pencil sketch"],
  ["Watercolour", "a watercolor painting"],
  ["Night", "moonlit night"],
  ["Sunset", "golden sunset"],
  ["Blueprint", "a blueprint"],
  ["Noir", "film noir"],
  ["Stained glass", "stained glass window"],
  ["Pop art", "pop art"],
  ["Thermal", "thermal camera"],
  ["Winter", "snowy winter"],
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
