import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { choices, control, controls, counts, groupOf, idleNegative, node, processorsFor } from "../../../server/src/page/schema.js";

const schema = JSON.parse(readFileSync(new URL("../../../docs/parameters.schema.json", import.meta.url), "utf8"));

/** The paths of a schema, in order, as the server's table of parameters has them. */
function paths(found, path = "") {
  return Object.entries(found.properties).flatMap(([name, child]) => {
    const own = path ? `${path}.${name}` : name;
    if (child.properties) return paths(child, own);
    return child.items?.properties ? [own, ...paths(child.items, `${own}[]`)] : [own];
  });
}

const catalogue = {
  schema,
  fields: paths(schema).map((path) => ({ path, cost: "hot" })),
  processors: { canny: { latent: false, alias: null }, depth_tensorrt: { latent: false, alias: "depth" }, external: { latent: false, alias: null }, latent_feedback: { latent: true, alias: null } },
  models: { demo: { controlnets: ["demo-canny"], ip_adapter: true }, "IDKiro/sdxs-512-0.9": { controlnets: [], ip_adapter: false } },
  defaults: {},
};

test("every parameter has a control, a place of its own, or a reason to have none", () => {
  const made = new Set(controls(catalogue).map(({ path }) => path));
  const without = catalogue.fields.map(({ path }) => path).filter((path) => !path.includes("[]") && !made.has(path) && !made.has(path.replace(/\.processors$/, "")));
  assert.deepEqual(without, [
    "prompt", "prompt_interpolation_method", "normalize_prompt_weights", "negative_prompt", "acceleration",
    "image_preprocessing.enabled", "image_postprocessing.enabled", "latent_preprocessing.enabled", "latent_postprocessing.enabled",
    "controlnets", "ip_adapter.insightface_model_name",
  ]);
});

test("kinds, bounds and choices come from the schema", () => {
  const by = Object.fromEntries(controls(catalogue).map((one) => [one.path, one]));
  assert.deepEqual([by.guidance_scale.kind, by.guidance_scale.min, by.guidance_scale.max], ["number", 0, 100]);
  assert.deepEqual([by.width.kind, by.width.step], ["integer", 8]);
  assert.equal(by.do_add_noise.kind, "switch");
  assert.deepEqual([by.t_index_list.kind, by.t_index_list.most, by.t_index_list.max], ["list", 4, 100]);
  assert.deepEqual([by.seed.kind, by.seed.max], ["weighted", 2 ** 53 - 1]);
  assert.deepEqual(by["ip_adapter.type"].choices.map(({ value }) => value), ["regular", "faceid"]);
  assert.equal(by.image_preprocessing.kind, "chain");
  assert.equal(by.lora_dict.kind, "named");
  assert.equal(by.model_id.kind, "text");
  for (const one of Object.values(by)) assert.ok(one.label && one.help, one.path);
});

test("a name that may be absent has a choice for that", () => {
  const [first, ...rest] = choices(node(schema, "controlnets[].preprocessor"));
  assert.deepEqual(first, { value: "", label: "None" });
  assert.ok(rest.some(({ value }) => value === "canny"));
  assert.deepEqual(choices({ enum: ["binary", "alpha"] }).map(({ label }) => label), ["Binary", "Alpha"]);
  assert.equal(control("x", {}, { type: "boolean" }).kind, "switch");
});

test("what would do nothing is not shown", () => {
  const params = { model_id: "demo", cfg_type: "none", guidance_scale: 1, seed: 5, ip_adapter: { enabled: false }, cached_attention: { enabled: false }, feature_reuse: { interval: 1 }, interpolation: { factor: 1 }, img2img_turbo: { weights: null } };
  for (const path of ["delta", "guidance_scale", "negative_prompt", "seed_interpolation_method", "ip_adapter.scale", "cached_attention.interval", "feature_reuse.max_error", "interpolation.scene_cut", "interpolation.model_id", "img2img_turbo.strength", "use_lcm_lora", "safety_checker_threshold"]) {
    assert.ok(!counts(path, params, catalogue), path);
  }
  assert.ok(!counts("ip_adapter.enabled", { ...params, model_id: "IDKiro/sdxs-512-0.9" }, catalogue));
  const rich = { model_id: "Lykon/dreamshaper-8", cfg_type: "initialize", guidance_scale: 2, seed: [[1, 1], [2, 1]], ip_adapter: { enabled: true }, cached_attention: { enabled: true }, interpolation: { factor: 2 }, img2img_turbo: { weights: "edges.pkl" }, use_safety_checker: true };
  for (const path of ["feature_reuse.interval", "feature_reuse.max_error"]) {
    assert.ok(!counts(path, { ...rich, feature_reuse: { interval: 3 } }, catalogue), path);
    assert.ok(counts(path, { ...params, feature_reuse: { interval: 3 } }, catalogue), path);
  }
  for (const path of ["delta", "seed_interpolation_method", "ip_adapter.enabled", "ip_adapter.scale", "cached_attention.interval", "interpolation.scene_cut", "interpolation.model_id", "img2img_turbo.strength", "use_lcm_lora", "safety_checker_threshold", "guidance_scale", "negative_prompt"]) {
    assert.ok(counts(path, rich, catalogue), path);
  }
});

test("a negative prompt without effect has a reason", () => {
  assert.match(idleNegative({ cfg_type: "self", guidance_scale: 2 }), /“self” does not use a negative prompt/);
  assert.match(idleNegative({ cfg_type: "none", guidance_scale: 1 }), /“none” does not use a negative prompt/);
  assert.match(idleNegative({ cfg_type: "full", guidance_scale: 1 }), /no guidance up to a guidance scale of 1/);
  for (const cfg_type of ["full", "initialize"]) assert.equal(idleNegative({ cfg_type, guidance_scale: 1.2 }), "");
  assert.ok(!counts("delta", { cfg_type: "full", guidance_scale: 2 }, catalogue));
  assert.ok(counts("delta", { cfg_type: "self", guidance_scale: 2 }, catalogue));
});

test("null, which means the default, is no choice", () => {
  assert.deepEqual(choices(node(schema, "cfg_type")).map(({ value }) => value), ["none", "self", "full", "initialize"]);
});

test("a server with the demo model alone offers no other", () => {
  assert.ok(counts("model_id", { model_id: "demo" }, catalogue));
  assert.ok(!counts("model_id", { model_id: "demo" }, { ...catalogue, demo_alone: true }));
});

test("chains are offered processors of their own kind, each once", () => {
  assert.deepEqual(processorsFor(catalogue, false), ["canny"]);
  assert.deepEqual(processorsFor(catalogue, true), ["latent_feedback"]);
});

test("a parameter that no group names stands in the last", () => {
  assert.equal(groupOf("guidance_scale"), "Guidance");
  assert.equal(groupOf("something_new"), "More");
});
