import assert from "node:assert/strict";
import test from "node:test";
import { Api } from "../../../server/src/page/api.js";
import { cameraConstraints, choices } from "../../../server/src/page/devices.js";
import { load, store } from "../../../server/src/page/local.js";
import { at, Mappings, ofKey, ofMidi, pressed } from "../../../server/src/page/mapping.js";
import { lines, Playlist } from "../../../server/src/page/playlist.js";
import { changesOf, fromLink, paramsOf, presetOf, Presets, toLink } from "../../../server/src/page/presets.js";
import { seconds } from "../../../server/src/page/record.js";
import { addressOf } from "../../../server/src/page/share.js";

/** A browser's storage. */
const memory = () => {
  const all = new Map();
  return { getItem: (name) => all.get(name) ?? null, setItem: (name, value) => void all.set(name, value) };
};
const full = { getItem: () => "{", setItem: () => { throw new DOMException("full", "QuotaExceededError"); } };

test("a prompt is faded over the duration that is set, and nothing else is", async (context) => {
  const bodies = [];
  context.mock.method(globalThis, "fetch", async (_, { body }) => (bodies.push(JSON.parse(body)), new Response("{}")));
  const api = new Api("http://127.0.0.1/");
  await api.patch("str_1", { prompt: "ink", delta: 1 }, 2.5);
  await api.patch("str_1", { delta: 1 }, 2.5);
  await api.patch("str_1", { prompt: "ink" }, 0);
  assert.deepEqual(bodies.map(({ transition }) => transition), [{ duration: 2.5 }, undefined, undefined]);
  assert.deepEqual(bodies[0].params, { prompt: "ink", delta: 1 });
});

test("a list plays each prompt for its time, and begins again", () => {
  const shown = [];
  const timers = [];
  const clock = { after: (act, ms) => timers.push([act, ms]), cancel: (timer) => timer && (timers[timer - 1] = undefined) };
  const list = new Playlist((prompt) => shown.push(prompt), clock);
  let each = 20;
  assert.equal(list.play([], () => each), false);
  assert.equal(list.plays, false);
  assert.ok(list.play(lines(" ink \n\nneon\n"), () => each));
  each = 5;
  for (const step of [0, 1, 2]) timers[step][0]();
  assert.deepEqual(shown, ["ink", "neon", "ink", "neon"]);
  assert.deepEqual(timers.map(([, ms]) => ms), [20_000, 5000, 5000, 5000]);
  list.stop();
  assert.deepEqual([list.plays, timers[3]], [false, undefined]);
});

test("a prompt of a list may have a time of its own", () => {
  const read = lines("ink | 12\nneon |2.5 s\n80s film\na | b\n| 5\nlong | 99999");
  assert.deepEqual(read, [{ prompt: "ink", seconds: 12 }, { prompt: "neon", seconds: 2.5 }, { prompt: "80s film" }, { prompt: "a | b" }, { prompt: "| 5" }, { prompt: "long", seconds: 3600 }]);
  const waits = [];
  new Playlist(() => {}, { after: (act, ms) => waits.push(ms) < 3 && act(), cancel: () => {} }).play(read, () => 7);
  assert.deepEqual(waits, [12_000, 2500, 7000]);
});

test("a preset has what differs from the defaults, and sets all of it", () => {
  const defaults = { delta: 0.7, prompt: "a", ip_adapter_style_image_url: "", controlnets: [] };
  const params = { ...defaults, prompt: [["ink", 1], ["neon", 0.5]], ip_adapter_style_image_url: "x".repeat(9000), odd: 1 };
  const preset = presetOf("Night", params, defaults);
  assert.deepEqual(preset, { name: "Night", params: { prompt: [["ink", 1], ["neon", 0.5]] } });
  assert.deepEqual(paramsOf({ name: "", params: { delta: 1, odd: 2 } }, defaults), { ...defaults, delta: 1 });
});

test("what a preset changes is listed, and long values are cut", () => {
  const defaults = { delta: 0.7, prompt: "a", seed: 1 };
  const preset = { name: "", params: { prompt: "x".repeat(100), seed: 1, odd: 2 } };
  const changes = changesOf(preset, { delta: 0.5, prompt: [["b", 1]], seed: 1 }, defaults);
  assert.deepEqual(changes, [{ name: "delta", from: "0.5", to: "0.7" }, { name: "prompt", from: '[["b",1]]', to: `${"x".repeat(80)}…` }]);
});

test("a preset survives its link, and other links have none", () => {
  const preset = { name: "Ünï & #1", params: { prompt: "50 % “ink” + água", delta: 0.5 } };
  const link = toLink("https://a.example/sub/?source=demo#old", preset);
  assert.match(link, /^https:\/\/a\.example\/sub\/#preset=/);
  assert.deepEqual(fromLink(link), preset);
  assert.deepEqual(fromLink(new URL(link).hash), preset);
  for (const text of ["", "#", "#preset=", "#preset=%", "#preset=3", "#preset=null", '#preset={"name":1,"params":{}}', '#preset={"name":"a","params":[]}', `#preset=${"x".repeat(40_000)}`]) {
    assert.equal(fromLink(text), undefined, text.slice(0, 40));
  }
  assert.equal(toLink("https://a.example/", { name: "a", params: { prompt: "é".repeat(8192) } }), undefined);
});

test("presets are kept by name", () => {
  const kept = memory();
  const presets = new Presets(kept);
  for (const [name, delta] of [["a", 1], ["b", 2], ["a", 3]]) assert.ok(presets.add({ name, params: { delta } }));
  assert.deepEqual(new Presets(kept).all, [{ name: "b", params: { delta: 2 } }, { name: "a", params: { delta: 3 } }]);
  presets.remove("a");
  assert.equal(new Presets(kept).all.length, 1);
  const lost = new Presets(full);
  assert.deepEqual([lost.all, lost.add({ name: "a", params: {} })], [[], false]);
  kept.setItem("dreamframe.presets", '[{"name":1},null,{"name":"c","params":{}}]');
  assert.deepEqual(new Presets(kept).all.map(({ name }) => name), ["c"]);
});

test("knobs and pads move sliders over their range, and other messages nothing", () => {
  assert.deepEqual(ofMidi([0xb0, 7, 127]), { id: "midi control 7, channel 1", value: 1 });
  assert.deepEqual(ofMidi(new Uint8Array([0x92, 36, 0x7f])), { id: "midi note 36, channel 3", value: 1 });
  for (const data of [[], [0x90, 36, 0], [0x80, 36, 64], [0xf8], [0xe0, 0, 64]]) assert.equal(ofMidi(data), undefined, String(data));
  assert.equal(at({ min: 0, max: 2, step: 0.01 }, 64 / 127), 1.01);
  assert.equal(at({ min: 64, max: 1024, step: 64 }, 0.49), 512);
});

test("keys move sliders by steps, within their range", () => {
  const none = { ctrlKey: false, metaKey: false, altKey: false };
  assert.equal(ofKey({ ...none, key: "Q" }), "key q");
  for (const key of ["Tab", "Enter", "ArrowLeft", " ", "Shift"]) assert.equal(ofKey({ ...none, key }), undefined, key);
  assert.equal(ofKey({ ...none, key: "r", ctrlKey: true }), undefined);
  const range = { min: 0, max: 10, step: 0.05 };
  assert.equal(pressed(range, 5, false), 5.25);
  assert.equal(pressed(range, 0.1, true), 0);
  assert.equal(pressed({ min: 0, max: 4, step: 1 }, 2, false), 3);
});

test("mappings are kept, and what is no mapping is dropped", () => {
  const kept = memory();
  const mappings = new Mappings(kept);
  mappings.set("key q", "delta");
  mappings.set("key w", "delta");
  mappings.set("key q", "guidance_scale");
  mappings.remove("key w");
  assert.deepEqual([...new Mappings(kept).all], [["key q", "guidance_scale"]]);
  kept.setItem("dreamframe.mappings", '[["key q"],3,["a","b"]]');
  assert.deepEqual([...new Mappings(kept).all], [["a", "b"]]);
  assert.equal(new Mappings(full).all.size, 0);
});

test("a recording is as long as the button was held, from 3 to 10 seconds", () => {
  assert.deepEqual([0, 2999, 3001, 7000, 60_000].map(seconds), [3, 3, 4, 7, 10]);
});

test("a camera is asked for by device, or by the way it faces", () => {
  assert.equal(cameraConstraints({ device: "", facing: "environment" }).facingMode, "environment");
  const { deviceId, facingMode } = cameraConstraints({ device: "x", facing: "user" });
  assert.deepEqual([deviceId, facingMode], [{ exact: "x" }, undefined]);
  const device = (kind, deviceId, label) => ({ kind, deviceId, label });
  const all = [device("videoinput", "1", "Built-in"), device("audioinput", "2", ""), device("videoinput", "3", ""), device("videoinput", "", "")];
  assert.deepEqual(choices(all, "videoinput"), [{ id: "1", label: "Built-in" }, { id: "3", label: "Camera 2" }]);
  assert.deepEqual(choices(all, "audioinput"), [{ id: "2", label: "Microphone 1" }]);
});

test("what a browser does not keep is read as the default", () => {
  const kept = memory();
  assert.ok(store(kept, "a", [1]));
  assert.deepEqual(load(kept, "a", (value) => value, []), [1]);
  assert.equal(load(kept, "b", (value) => value ?? undefined, 7), 7);
  assert.equal(load(full, "a", (value) => value, 7), 7);
});

test("the link of a clip is that of the page, but on the server's own machine that of the server", () => {
  const [known, path] = ["https://sd.example/clips/clip_1", "/clips/clip_1"];
  for (const here of [`http://127.0.0.1:8889${path}`, `http://localhost${path}`, `http://[::1]:8889${path}`]) assert.equal(addressOf(known, here), known);
  for (const here of [`https://proxy.example${path}`, `https://127.0.0.1.example${path}`]) assert.equal(addressOf(known, here), here);
});

test("the settings of a clip are a preset", () => {
  // As `clips/sharing.rs` writes it.
  const link = "#preset=%7B%22name%22%3A%22n%C3%A4ht%20%26%20%5C%22sun%5C%22%22%2C%22params%22%3A%7B%22prompt%22%3A%22n%C3%A4ht%20%26%20%5C%22sun%5C%22%22%2C%22seed%22%3A3%7D%7D";
  assert.deepEqual(fromLink(link), { name: 'näht & "sun"', params: { prompt: 'näht & "sun"', seed: 3 } });
});

test("a clip is created and deleted by its ids", async (context) => {
  const asked = [];
  context.mock.method(globalThis, "fetch", async (url, { method, body }) => (asked.push([method, url.pathname, body]), Response.json({ id: "clip_1", url: "u" })));
  const api = new Api("https://a.example/");
  assert.equal((await api.clip("str_1", 4)).id, "clip_1");
  await api.removeClip("clip_1");
  assert.deepEqual(asked, [["POST", "/v1/streams/str_1/clips", '{"seconds":4}'], ["DELETE", "/v1/clips/clip_1", undefined]]);
});
