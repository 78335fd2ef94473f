/** Controls from the JSON Schema: the type, label and group of each parameter. */

/** @typedef {import("./types.js").Catalogue} Catalogue */
/** @typedef {import("./types.js").Control} Control */
/** @typedef {import("./types.js").Field} Field */
/** @typedef {import("./types.js").Kind} Kind */
/** @typedef {import("./types.js").Params} Params */

/** End of a slider below the bound, because larger values are rarely useful; numbers up to the bound may be typed. */
const SPANS = /** @type {Record<string, [number, number]>} */ ({
  guidance_scale: [0, 8],
  delta: [0, 2],
  width: [256, 1024],
  height: [256, 1024],
  similar_image_filter_max_skip_frame: [0, 60],
  "ip_adapter.scale": [0, 2],
  "cached_attention.interval": [1, 60],
  "feature_reuse.interval": [1, 10],
  "feature_reuse.max_error": [0, 1.5],
});

/** Parameters with separate controls on the page. */
const ELSEWHERE = /^(prompt|prompt_interpolation_method|normalize_prompt_weights|negative_prompt|controlnets)$/;

/** Parameters without effect here. */
const IDLE = /^acceleration$/;

/** Groups of parameters that change between two frames, in order; the last has all others. */
export const GROUPS = [
  { title: "Guidance", paths: /^(cfg_type|guidance_scale|delta)$/ },
  { title: "Seed and noise", paths: /^(seed|seed_interpolation_method|normalize_seed_weights)$/ },
  { title: "Timesteps", paths: /^(t_index_list|num_inference_steps|timestep_spacing|scheduler|eta|do_add_noise)$/ },
  { title: "Style image", paths: /^ip_adapter/ },
  { title: "Earlier frames", paths: /^(cached_attention|feature_reuse)/ },
  { title: "Between pictures", paths: /^interpolation/ },
  { title: "Skipping frames", paths: /^(skip_diffusion|.*similar_image_filter.*)$/ },
  { title: "Processing", paths: /_(pre|post)processing$/ },
  { title: "More", paths: /./ },
];

/**
 * Finds the schema of a path such as `controlnets[].enabled`.
 *
 * @param {any} schema
 * @param {string} path
 * @returns {any}
 */
export function node(schema, path) {
  return path.split(".").reduce((/** @type {any} */ at, part) => {
    const list = part.endsWith("[]");
    const child = at?.properties?.[list ? part.slice(0, -2) : part];
    return list ? child?.items : child;
  }, schema);
}

/**
 * Lists the controls of all parameters without separate controls, in the order of the table.
 *
 * @param {Catalogue} catalogue
 * @returns {Control[]}
 */
export function controls(catalogue) {
  const list = [];
  for (const field of catalogue.fields) {
    if (field.path.includes("[]") || ELSEWHERE.test(field.path) || IDLE.test(field.path)) continue;
    const chain = /^(.*)\.processors$/.exec(field.path);
    const path = chain?.[1] ?? field.path;
    const found = node(catalogue.schema, path);
    // A chain is enabled by its processors: a separate switch would have no effect on an empty one.
    if (!found || /_(pre|post)processing\.enabled$/.test(path) || /deprecated/.test(found.description ?? "")) continue;
    list.push(chain ? { ...base(path, field, found), kind: /** @type {Kind} */ ("chain"), most: node(catalogue.schema, field.path)?.maxItems } : control(path, field, found));
  }
  return list;
}

/**
 * Describes one parameter.
 *
 * @param {string} path
 * @param {Partial<Field>} field
 * @param {any} found  Its schema.
 * @returns {Control}
 */
export function control(path, field, found) {
  const kind = kindOf(path, found);
  const own = { ...base(path, field, found), kind, span: SPANS[path] };
  if (kind === "choice") return { ...own, choices: choices(found) };
  if (kind === "weighted") return { ...own, ...bounds(found.anyOf[0]), most: 4 };
  if (kind === "list") return { ...own, ...bounds(found.items), most: found.maxItems };
  if (kind === "named") return { ...own, ...bounds(found.additionalProperties), most: found.maxProperties };
  return { ...own, ...bounds(found) };
}

/**
 * @param {string} path
 * @param {Partial<Field>} field
 * @param {any} found
 */
function base(path, field, found) {
  const help = String(found.description ?? "").split("\n\n")[0]?.replaceAll("\n", " ").replaceAll("`", "") ?? "";
  return { path, label: label(path), help, cost: field.cost ?? "hot" };
}

/**
 * @param {string} path
 * @param {any} found
 * @returns {Kind}
 */
function kindOf(path, found) {
  const types = [found.type].flat();
  if (path === "ip_adapter_style_image_url") return "image";
  if (found.oneOf || found.enum || (found.anyOf?.[1]?.type === "null" && found.anyOf[0].oneOf)) return "choice";
  if (found.anyOf) return "weighted";
  if (types.includes("boolean")) return "switch";
  if (types.includes("integer")) return "integer";
  if (types.includes("number")) return "number";
  if (types.includes("array")) return "list";
  if (types.includes("object")) return "named";
  return "text";
}

/**
 * @param {any} found
 * @returns {{min?: number, max?: number, step?: number}}
 */
function bounds(found) {
  const types = [found?.type].flat();
  if (types.includes("integer")) return { min: found.minimum, max: found.maximum, step: found.multipleOf ?? 1 };
  if (types.includes("number")) return { min: found.minimum, max: found.maximum, step: 0.01 };
  return {};
}

/**
 * Lists the names that a parameter may have; if it may have none, the first is empty.
 *
 * @param {any} found
 * @returns {import("./types.js").Choice[]}
 */
export function choices(found) {
  if (found.enum) return found.enum.map((/** @type {string} */ value) => ({ value, label: words(value) }));
  const nullable = found.anyOf?.[0];
  const named = (nullable ?? found).oneOf.filter((/** @type {any} */ one) => one.const !== undefined);
  const list = named.map((/** @type {any} */ one) => ({
    value: one.const,
    label: words(one.const),
    help: one.description,
  }));
  return nullable ? [{ value: "", label: "None" }, ...list] : list;
}

/**
 * Converts a path to a label: `ip_adapter.weight_type` becomes "IP-Adapter weight type".
 *
 * @param {string} path
 */
export function label(path) {
  const text = path.replaceAll("[]", "").replaceAll(".", " ");
  return words(text);
}

/**
 * @param {string} name
 */
function words(name) {
  const text = name
    .replaceAll("_", " ")
    .replace(/\bip adapter\b/i, "IP-Adapter")
    .replace(/\blcm lora\b/i, "LCM-LoRA")
    .replace(/^cfg type$/i, "Kind of guidance")
    .replace(/\blora dict\b/i, "LoRAs")
    .replace(/\bnum inference\b/, "inference")
    .replace(/\bimage url\b/, "image")
    .replace(/^t index list$/, "timestep places");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/**
 * Returns the group of the live controls that a path belongs to.
 *
 * @param {string} path
 */
export function groupOf(path) {
  return GROUPS.find((group) => group.paths.test(path))?.title ?? "More";
}

/**
 * Returns whether the control has an effect now.
 *
 * @param {string} path
 * @param {Params} params
 * @param {Catalogue} catalogue
 * @returns {boolean}
 */
export function counts(path, params, catalogue) {
  const model = catalogue.models[params.model_id];
  switch (path) {
    case "delta":
      return params.guidance_scale > 1 && params.cfg_type !== "none" && params.cfg_type !== "full";
    case "guidance_scale":
      return params.cfg_type !== "none";
    case "eta":
      return params.scheduler === "tcd" && params.t_index_list.length > 1;
    case "scheduler":
      return params.t_index_list.length > 1;
    case "do_add_noise":
      return params.scheduler !== "ddim" && params.t_index_list.length > 1;
    case "negative_prompt":
      return idleNegative(params) === "";
    case "seed_interpolation_method":
    case "normalize_seed_weights":
      return Array.isArray(params.seed) && params.seed.length > 1;
    case "safety_checker_threshold":
      return params.use_safety_checker;
    case "similar_image_filter_threshold":
    case "similar_image_filter_max_skip_frame":
      return params.enable_similar_image_filter;
    case "use_lcm_lora":
      return !fewSteps(params.model_id);
    case "lcm_lora_id":
      return params.use_lcm_lora && !fewSteps(params.model_id);
    case "model_id":
      return !catalogue.demo_alone;
    case "ip_adapter.enabled":
      return model?.ip_adapter !== false;
    case "cached_attention.max_frames":
    case "cached_attention.interval":
    case "cached_attention.feature_injection_strength":
    case "cached_attention.feature_similarity_threshold":
    case "cached_attention.token_merging":
      return Boolean(params.cached_attention?.enabled);
    case "feature_reuse.max_error":
      return (params.feature_reuse?.interval ?? 1) > 1 && !params.cached_attention?.enabled;
    case "feature_reuse.interval":
      return !params.cached_attention?.enabled;
    case "interpolation.scene_cut":
    case "interpolation.model_id":
      return (params.interpolation?.factor ?? 1) > 1;
    case "img2img_turbo.direction":
    case "img2img_turbo.strength":
      return Boolean(params.img2img_turbo?.weights);
    default:
      return !path.startsWith("ip_adapter") || Boolean(params.ip_adapter?.enabled);
  }
}

/**
 * Says why the negative prompt has no effect; empty if it has one.
 *
 * @param {Params} params
 * @returns {string}
 */
export function idleNegative(params) {
  if (params.cfg_type !== "full" && params.cfg_type !== "initialize") {
    return `Has no effect: guidance of the kind “${params.cfg_type ?? "self"}” does not use a negative prompt.`;
  }
  return params.guidance_scale > 1 ? "" : "Has no effect: there is no guidance up to a guidance scale of 1.";
}

/**
 * Models for few steps do not use the LCM-LoRA.
 *
 * @param {string} model
 */
function fewSteps(model) {
  return model === "demo" || /turbo|lcm/i.test(model);
}

/**
 * Lists the processors that a chain may be given, without second names and those that need a caller's image.
 *
 * @param {Catalogue} catalogue
 * @param {boolean} latent
 * @returns {string[]}
 */
export function processorsFor(catalogue, latent) {
  const all = Object.entries(catalogue.processors);
  return all.filter(([name, one]) => one.latent === latent && !one.alias && name !== "external").map(([name]) => name);
}
