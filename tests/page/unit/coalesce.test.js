import assert from "node:assert/strict";
import test from "node:test";
import { Coalescer, Undelivered } from "../../../server/src/page/coalesce.js";

/** A sender whose deliveries are ended by hand. */
function sender() {
  const sent = [];
  const ends = [];
  const send = (changes) => new Promise((resolve, reject) => {
    sent.push(changes);
    ends.push({ resolve, reject });
  });
  return { sent, ends, send };
}

/** Time that passes when a test advances it. (The test runner's own clock differs between versions of node.) */
function clock(t) {
  const due = new Map();
  let [now, last] = [0, 0];
  t.mock.method(globalThis, "setTimeout", (run, after) => {
    due.set((last += 1), { run, at: now + after });
    return last;
  });
  t.mock.method(globalThis, "clearTimeout", (one) => void due.delete(one));
  return (passed) => {
    now += passed;
    for (const [one, { run, at }] of due) if (at <= now && due.delete(one)) run();
  };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("of several changes of one key only the newest is sent", async (t) => {
  const pass = clock(t);
  const { sent, send } = sender();
  const box = new Coalescer(send, 50);
  box.add({ delta: 0.1 });
  box.add({ delta: 0.2, seed: 1 });
  box.add({ delta: 0.3 });
  pass(49);
  assert.deepEqual(sent, []);
  pass(1);
  assert.deepEqual(sent, [{ delta: 0.3, seed: 1 }]);
});

test("the next change waits until the one before is delivered", async (t) => {
  const pass = clock(t);
  const { sent, ends, send } = sender();
  const box = new Coalescer(send, 50);
  box.add({ delta: 1 });
  pass(50);
  box.add({ delta: 2 });
  pass(500);
  assert.equal(sent.length, 1);
  ends[0].resolve();
  await settled();
  pass(50);
  assert.deepEqual(sent, [{ delta: 1 }, { delta: 2 }]);
});

test("what could not be delivered is sent again under what is newer", async (t) => {
  const pass = clock(t);
  const { sent, ends, send } = sender();
  const box = new Coalescer(send, 50);
  box.add({ delta: 1, seed: 5 });
  pass(50);
  box.add({ delta: 2 });
  ends[0].reject(new Undelivered());
  await settled();
  assert.deepEqual(box.waiting.sort(), ["delta", "seed"]);
  pass(5000);
  assert.equal(sent.length, 1, "nothing is sent to a server that does not answer");
  void box.flush();
  assert.deepEqual(sent[1], { delta: 2, seed: 5 });
});

test("a flush of nothing sends nothing", async () => {
  const { sent, send } = sender();
  await new Coalescer(send, 50).flush();
  assert.deepEqual(sent, []);
});
