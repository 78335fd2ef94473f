import assert from "node:assert/strict";
import test from "node:test";
import { EXTRAS } from "../../../server/src/page/extras.js";

const [lines, , hologram] = EXTRAS;

test("a ControlNet is added to the others and removed again", () => {
  const other = { model_id: "other", enabled: true };
  const on = lines.changes({ controlnets: [other] }, true);
  assert.deepEqual(on.controlnets.map(({ model_id }) => model_id), ["other", "demo-canny"]);
  assert.ok(lines.isOn(on));
  assert.deepEqual(lines.changes(on, false), { controlnets: [other] });
});

test("one that is disabled is off, and turned on in its place", () => {
  const disabled = { controlnets: [{ model_id: "demo-canny", enabled: false }] };
  assert.ok(!lines.isOn(disabled));
  const on = lines.changes(disabled, true);
  assert.equal(on.controlnets.length, 1);
  assert.ok(lines.isOn(on));
});

test("a LoRA is added to the others and removed again", () => {
  const on = hologram.changes({ lora_dict: { other: 0.5 } }, true);
  assert.deepEqual(on, { lora_dict: { other: 0.5, "demo-lora-hologram": 1 } });
  assert.ok(hologram.isOn(on));
  assert.deepEqual(hologram.changes(on, false), { lora_dict: { other: 0.5 } });
  assert.deepEqual(hologram.changes(hologram.changes({ lora_dict: null }, true), false), { lora_dict: null });
});
