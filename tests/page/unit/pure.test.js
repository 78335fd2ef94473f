import assert from "node:assert/strict";
import test from "node:test";
import { Backoff } from "../../../server/src/page/backoff.js";
import { between, Failures, sample, stateInWords } from "../../../server/src/page/figures.js";
import { Figuring } from "../../../server/src/page/figuring.js";
import { iceServers } from "../../../server/src/page/ice.js";
import { places, PRESETS, START } from "../../../server/src/page/look.js";
import { ofAnswer, ofError, ofSource, refusal, Trouble } from "../../../server/src/page/messages.js";
import { inOneLine } from "../../../server/src/page/models.js";
import { change, fit, fromPairs, read, same, toPairs } from "../../../server/src/page/params.js";
import { available, middle, Painter } from "../../../server/src/page/sources.js";

test("pauses double up to a bound, keep to what the server asks, and start over", () => {
  const backoff = new Backoff();
  assert.deepEqual(Array.from({ length: 6 }, () => backoff.next()), [1000, 2000, 4000, 8000, 15000, 15000]);
  assert.equal(backoff.next(30000), 30000);
  assert.equal(backoff.next(1e9), 60000);
  backoff.reset();
  assert.equal(backoff.next(), 1000);
});

test("more creativity means noisier places, more quality means more rows", () => {
  const grid = { steps: 50, model: "stabilityai/sd-turbo" };
  assert.deepEqual(places({ creativity: 10, quality: 0 }, grid), [6]);
  assert.deepEqual(places({ creativity: 10, quality: 0.8 }, grid), [7, 13, 19, 25]);
  const tame = places({ creativity: 0, quality: 0.4 }, grid);
  const wild = places({ creativity: 10, quality: 0.4 }, grid);
  assert.ok(wild.every((place, at) => place < tame[at]), `${wild} against ${tame}`);
});

test("every setting of the look gives a list that the server takes", () => {
  for (const model of ["demo", "stabilityai/sd-turbo"]) {
    for (const steps of [1, 4, 25, 50, 100]) {
      for (let creativity = 0; creativity <= 10; creativity += 0.5) {
        for (let quality = 0; quality <= 1; quality += 0.05) {
          const list = places({ creativity, quality }, { steps, model });
          assert.ok(list.length >= 1 && list.length <= 4);
          assert.ok(list.every((place, at) => Number.isInteger(place) && place >= (list[at - 1] ?? 0) && place < steps), `${list} of ${steps}`);
        }
      }
    }
  }
});

test("the demo model's places stay where it draws something, and start at its own", () => {
  const grid = { steps: 50, model: "demo" };
  assert.deepEqual(places(START, grid), [41, 46]);
  for (const preset of PRESETS) assert.ok(places(preset, grid).every((place) => place >= 36), preset.name);
});

test("a change replaces the top-level field and keeps its other values", () => {
  const params = { ip_adapter: { scale: 1, enabled: true }, delta: 0.5 };
  assert.deepEqual(change(params, "ip_adapter.scale", 0.2), { ip_adapter: { scale: 0.2, enabled: true } });
  assert.deepEqual(change(params, "delta", 1), { delta: 1 });
  assert.equal(read(params, "ip_adapter.enabled"), true);
  assert.equal(read(params, "cached_attention.interval"), undefined);
});

test("values are compared by what they hold", () => {
  assert.ok(same([["a", 1]], [["a", 1]]) && same({ a: null, b: [] }, { b: [], a: null }));
  for (const [a, b] of [[1, "1"], [[], {}], [{ a: 1 }, { a: 1, b: 2 }], [null, undefined], [[1], [2]]]) assert.ok(!same(a, b));
});

test("one prompt is a text, several are pairs", () => {
  assert.deepEqual(toPairs("x"), [["x", 1]]);
  assert.equal(fromPairs([["x", 0.4]]), "x");
  assert.deepEqual(fromPairs([["x", 1], ["y", 2]]), [["x", 1], ["y", 2]]);
});

test("typed numbers are brought within bounds and onto steps", () => {
  const size = { min: 64, max: 2048, step: 8 };
  assert.deepEqual([fit(500, size), fit(1, size), fit(9999, size), fit(NaN, size)], [504, 64, 2048, undefined]);
  assert.equal(fit(0.1 + 0.2, { step: 0.01 }), 0.3);
});

test("every refusal of the server becomes a sentence with advice", () => {
  const body = { error: "no room for another stream", details: {} };
  assert.deepEqual(ofAnswer(503, body, "7"), { kind: "busy", text: "No room for another stream.", advice: "Retrying; stopping another stream helps.", wait: 7000 });
  const kinds = { 400: "refused", 401: "key", 403: "key", 404: "missing", 406: "media", 409: "refused", 422: "media", 429: "busy", 500: "server", 502: "server" };
  for (const [status, kind] of Object.entries(kinds)) {
    const problem = ofAnswer(Number(status), undefined);
    assert.equal(problem.kind, kind, status);
    assert.match(problem.text, /^[A-Z].*\.$/);
    assert.match(problem.advice, /^[A-Z].*\.$/);
  }
  const fields = [{ path: "params.delta", reason: "got 99, expected a number from 0 to 10" }];
  const problem = ofAnswer(400, { error: "bad", details: { fields } });
  assert.equal(refusal(problem), "delta: got 99, expected a number from 0 to 10");
});

test("a lost server, a refused camera and an unreadable file have words of their own", () => {
  assert.equal(ofError(new TypeError("fetch failed")).kind, "network");
  assert.equal(ofError(new DOMException("", "TimeoutError")).kind, "network");
  const known = ofAnswer(404, {});
  assert.equal(ofError(new Trouble(known)), known);
  const texts = ["NotAllowedError", "NotFoundError", "NotReadableError", "AbortError", "Other"].map((name) => ofSource(new DOMException("", name), "camera").text);
  assert.equal(new Set(texts).size, texts.length);
  assert.match(ofSource(new DOMException("", "NotSupportedError"), "file").advice, /MP4/);
});

test("rates come from the growth of counters, and a reset counter gives none", () => {
  const before = { at: 0, sent: 100, encoding: 1, shown: 50, decoding: 1, waiting: 2, waited: 50, lost: 3, trip: 0.02 };
  const now = { at: 2000, sent: 160, encoding: 1.3, shown: 80, decoding: 1.06, waiting: 2.3, waited: 80, lost: 5, trip: 0.02 };
  const figures = between(before, now);
  assert.equal(figures.fpsIn, 30);
  assert.equal(figures.fpsOut, 15);
  assert.equal(figures.lost, 2);
  assert.ok(Math.abs(figures.network - 37) < 1e-6, JSON.stringify(figures));
  assert.equal(between(now, { ...now, at: 3000, sent: 1 }).fpsIn, undefined);
  assert.deepEqual(between(now, now), {});
});

test("at one picture per second, figures do not jump from second to second", () => {
  let shown = () => {};
  const figuring = new Figuring({ requestVideoFrameCallback: (seen) => (shown = seen) }, () => {});
  shown();
  const status = { inference_status: { latency_ms: 900 } };
  const taken = [];
  for (let second = 0; second <= 20; second += 1) {
    // Two pictures in every third second alone; each waited for half a second.
    const pictures = 2 * Math.floor(second / 3);
    const now = { at: second * 1000, sent: second * 15, encoding: 0, shown: pictures, decoding: 0, waiting: pictures / 2, waited: pictures, trip: 0.01 };
    taken.push(figuring.add(now, status));
  }
  assert.deepEqual(taken[0], {});
  for (const { fpsIn, fpsOut, latency } of taken.slice(8)) {
    assert.equal(fpsIn, 15);
    assert.ok(fpsOut >= 0.4 && fpsOut <= 0.8, fpsOut);
    assert.ok(Math.abs(latency - 1410) < 1e-6, latency);
  }
  figuring.reset();
  assert.deepEqual(figuring.add({ at: 0 }, status), {});
});

test("counters are read from both connections", () => {
  const sending = [{ type: "outbound-rtp", kind: "video", framesEncoded: 7, totalEncodeTime: 1 }, { type: "remote-inbound-rtp", packetsLost: 2 }, { type: "candidate-pair", nominated: true, currentRoundTripTime: 0.01 }];
  const receiving = [{ type: "inbound-rtp", kind: "audio", framesDecoded: 99 }, { type: "inbound-rtp", kind: "video", framesDecoded: 5, packetsLost: 3 }];
  const counted = sample(sending, receiving, 1);
  assert.deepEqual([counted.sent, counted.shown, counted.lost, counted.trip], [7, 5, 5, 0.01]);
});

test("every state of the contract has words", () => {
  const states = ["ONLINE", "LOADING", "DEGRADED_INPUT", "DEGRADED_INFERENCE", "ERROR", "OFFLINE"].map((state) => stateInWords({ state }).text);
  assert.equal(new Set(states).size, 6);
  const before = { last_output_time: null };
  assert.equal(stateInWords({ state: "DEGRADED_INPUT", inference_status: before }).text, "Loading the model");
  assert.equal(stateInWords({ state: "ERROR", inference_status: { last_error: "no memory" } }).detail, "no memory");
});

test("the middle of a frame has the shape of the stream", () => {
  assert.deepEqual(middle(640, 360, 1), { x: 140, y: 0, w: 360, h: 360 });
  assert.deepEqual(middle(360, 640, 2), { x: 0, y: 230, w: 360, h: 180 });
});

test("a source that the browser does not have is not offered, with the reason", () => {
  assert.deepEqual(available(undefined, false), { camera: false, screen: false, note: "Camera and screen need https, or the page opened as localhost." });
  assert.equal(available({ getUserMedia() {} }, true).note, "");
});

test("frames are drawn at the size and rate that the server uses", (context) => {
  const drawn = [];
  const canvas = { width: 0, height: 0, getContext: () => ({ drawImage: () => drawn.push(`${canvas.width}x${canvas.height}`) }) };
  globalThis.document = { createElement: () => canvas };
  context.after(() => delete globalThis.document);
  const painter = new Painter(() => ({ width: 512, height: 512 }));
  const second = (start) => {
    drawn.length = 0;
    for (let frame = 0; frame < 24; frame += 1) painter.draw({}, 640, 360, start + (frame * 1000) / 24);
    return drawn.length;
  };
  assert.equal(second(0), 24);
  assert.equal(new Set(drawn).size, 1);
  painter.want({ frame_rate: 12, width: 256, height: 192 });
  assert.ok(Math.abs(second(1000) - 12) <= 1, drawn.length);
  assert.equal(drawn[0], "256x192");
  painter.want({ frame_rate: 15, width: 256, height: 192 });
  assert.ok(Math.abs(second(2000) - 15) <= 1, drawn.length);
  // After a pause, the frames that are missing are not made up for.
  assert.ok(Math.abs(second(60_000) - 15) <= 1, drawn.length);
});

test("while a model is loaded, its progress is shown", () => {
  const loading = { loading_progress: 42, last_output_time: 1 };
  assert.match(stateInWords({ state: "LOADING", inference_status: loading }).detail, /^42 % are loaded\. /);
  assert.equal(stateInWords({ state: "ONLINE", inference_status: loading }).detail, "42 % are loaded.");
  assert.equal(stateInWords({ state: "ONLINE", inference_status: { loading_progress: null, last_output_time: 1 } }).detail, "");
});

test("a failure is shown once, and an earlier one is not", () => {
  const failures = new Failures();
  const status = (timestamp, last_error_time, state = "ONLINE") => ({ timestamp, state, inference_status: { last_error: "no such model", last_error_time } });
  assert.equal(failures.next(undefined), undefined);
  assert.equal(failures.next(status(1000, 900)), undefined);
  assert.equal(failures.next(status(2000, 1500)), "no such model");
  assert.equal(failures.next(status(3000, 1500)), undefined);
  // The state says why there are no pictures.
  assert.equal(failures.next(status(4000, 3500, "ERROR")), undefined);
  assert.equal(failures.next(status(5000, 4500)), "no such model");
});

test("the ICE servers of Link headers are read, and other links are skipped", () => {
  const links = '<stun:a:3478>; rel="ice-server", </next>; rel="next", ' +
    '<turn:b:3478?transport=udp>; rel="ice-server"; username="a, \\"b\\""; credential="c;d"; credential-type="password", ' +
    "<turns:c>;rel=ice-server;username=name";
  assert.deepEqual(iceServers(links), [
    { urls: "stun:a:3478" },
    { urls: "turn:b:3478?transport=udp", username: 'a, "b"', credential: "c;d" },
    { urls: "turns:c" },
  ]);
  for (const none of [null, "", "<", "<stun:a>", '<stun:a>; rel="next"', "stun:a; rel=ice-server"]) assert.deepEqual(iceServers(none), []);
});

test("a model is described with what is known of it", () => {
  const model = { model: "sdxs", width: 512, height: 384, pictures_per_second: 12.34, memory_bytes: 1.26e9, fits: true, download_mb: 1770, licence: "mit", command: "x" };
  assert.equal(inOneLine(model), "512×384, about 12.3 pictures a second, memory 1.3 GB, download 1.8 GB, mit");
  const unknown = inOneLine({ ...model, pictures_per_second: 0.0412, fits: false, download_mb: null });
  assert.equal(unknown, "512×384, about 0.041 pictures a second, memory 1.3 GB, more than is free, download size unknown, mit");
  assert.match(inOneLine({ ...model, download_mb: 0 }), /built in/);
});
