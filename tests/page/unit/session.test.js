import assert from "node:assert/strict";
import test from "node:test";
import { ofAnswer, Trouble } from "../../../server/src/page/messages.js";
import { Session } from "../../../server/src/page/session.js";

const catalogue = { schema: { properties: { model_id: {}, delta: {}, seed: {}, prompt: {} } }, defaults: { model_id: "demo", delta: 0.7, seed: 1, prompt: "x" } };

/** A server in memory, whose next answers can be failures. */
function server() {
  const api = {
    calls: [],
    failures: [],
    params: { ...catalogue.defaults },
    answer(call, changes) {
      api.calls.push([call, changes]);
      const failure = api.failures.shift();
      if (failure) throw failure;
      Object.assign(api.params, changes);
      return Promise.resolve({ id: "str_1", params: { ...api.params }, pipeline_params: { foreign: 1 } });
    },
    create: async (params) => api.answer("create", params),
    stream: async () => api.answer("read", {}),
    patch: async (_id, params) => api.answer("patch", params),
  };
  return api;
}

function session(api) {
  const problems = [];
  const made = new Session(api, catalogue, { changed() {}, remarked() {}, failed: (problem) => problems.push(problem) });
  return { made, problems };
}

const soon = () => new Promise((resolve) => setTimeout(resolve, 80));

test("what is changed before there is a stream goes with its making", async () => {
  const api = server();
  const { made } = session(api);
  made.change({ delta: 0.2 });
  await soon();
  assert.deepEqual(api.calls, []);
  await Promise.all([made.ready(), made.ready()]);
  assert.deepEqual(api.calls, [["create", { model_id: "demo", delta: 0.2 }]]);
  assert.equal(made.params.foreign, undefined);
});

test("a change shows at once and is sent a moment later, equal values never", async () => {
  const api = server();
  const { made } = session(api);
  await made.ready();
  made.change({ delta: 0.3 });
  assert.equal(made.params.delta, 0.3);
  made.change({ delta: 0.4 });
  made.change({ seed: 1 });
  await soon();
  assert.deepEqual(api.calls.slice(1), [["patch", { delta: 0.4 }]]);
});

test("a refused change is reverted and reported", async () => {
  const api = server();
  const { made, problems } = session(api);
  await made.ready();
  api.failures.push(new Trouble(ofAnswer(400, { error: "no" })));
  made.change({ delta: 99 });
  await soon();
  assert.equal(made.params.delta, 0.7);
  assert.equal(problems[0].kind, "refused");
});

test("a change that the server did not get is kept and sent later", async () => {
  const api = server();
  const { made, problems } = session(api);
  await made.ready();
  api.failures.push(new TypeError("fetch failed"));
  made.change({ delta: 0.9 });
  await soon();
  assert.equal(made.params.delta, 0.9);
  assert.equal(problems[0].kind, "network");
  made.flush();
  await soon();
  assert.equal(api.params.delta, 0.9);
});

test("a stream that is gone is forgotten, and made again as it was", async () => {
  const api = server();
  const { made } = session(api);
  await made.ready();
  api.failures.push(new Trouble(ofAnswer(404, {})));
  made.change({ delta: 0.5 });
  await soon();
  assert.equal(made.stream, undefined);
  await made.ready();
  assert.deepEqual(api.calls.at(-1), ["create", { model_id: "demo", delta: 0.5 }]);
});

test("a new stream that is refused starts again from the server's defaults", async () => {
  const api = server();
  const { made, problems } = session(api);
  made.change({ delta: 99 });
  api.failures.push(new Trouble(ofAnswer(400, { error: "no" })));
  await assert.rejects(made.ready());
  assert.equal(made.params.delta, 0.7);
  assert.equal(problems.length, 1);
});

test("what the server took back is shown, and a newer change stays", async () => {
  const api = server();
  const { made } = session(api);
  await made.ready();
  made.change({ delta: 0.2, seed: 5 });
  await soon();
  api.params.delta = 0.7;
  const refreshed = made.refresh();
  made.change({ seed: 9 });
  await refreshed;
  assert.deepEqual([made.params.delta, made.params.seed], [0.7, 9]);
  await soon();
  assert.equal(api.params.seed, 9);
});
