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

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("of several changes of one key only the newest is sent", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { sent, send } = sender();
  const box = new Coalescer(send, 50);
  box.add({ delta: 0.1 });
  box.add({ delta: 0.2, seed: 1 });
  box.add({ delta: 0.3 });
  t.mock.timers.tick(49);
  assert.deepEqual(sent, []);
  t.mock.timers.tick(1);
  assert.deepEqual(sent, [{ delta: 0.3, seed: 1 }]);
});

test("the next change waits until the one before is delivered", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { sent, ends, send } = sender();
  const box = new Coalescer(send, 50);
  box.add({ delta: 1 });
  t.mock.timers.tick(50);
  box.add({ delta: 2 });
  t.mock.timers.tick(500);
  assert.equal(sent.length, 1);
  ends[0].resolve();
  await settled();
  t.mock.timers.tick(50);
  assert.deepEqual(sent, [{ delta: 1 }, { delta: 2 }]);
});

test("what could not be delivered is sent again under what is newer", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { sent, ends, send } = sender();
  const box = new Coalescer(send, 50);
  box.add({ delta: 1, seed: 5 });
  t.mock.timers.tick(50);
  box.add({ delta: 2 });
  ends[0].reject(new Undelivered());
  await settled();
  assert.deepEqual(box.waiting.sort(), ["delta", "seed"]);
  t.mock.timers.tick(5000);
  assert.equal(sent.length, 1, "nothing is sent to a server that does not answer");
  void box.flush();
  assert.deepEqual(sent[1], { delta: 2, seed: 5 });
});

test("a flush of nothing sends nothing", async () => {
  const { sent, send } = sender();
  await new Coalescer(send, 50).flush();
  assert.deepEqual(sent, []);
});
