// Daydream's TypeScript SDK against a server of ours: `node sdk.mjs BASE KEY [open]`. The server wants KEY, or none
// where it is said to be open.
//
// The SDK is installed three times, each with another version of zod, because those read replies differently. Parameters
// that it cannot read come without an error, as `isUnknown`, so that everything here looks at typed fields.

import assert from "node:assert/strict";

const [base, key, open] = process.argv.slice(2);

const MODELS = [
  "stabilityai/sd-turbo",
  "stabilityai/sdxl-turbo",
  "Lykon/dreamshaper-8",
  "prompthero/openjourney-v4",
];

/** Checks what every stream has. */
function assertStream(stream, modelId) {
  assert.equal(stream.pipeline, "streamdiffusion");
  assert.match(stream.id, /^str_/);
  assert.ok(stream.whipUrl.startsWith(`${base}/`), stream.whipUrl);
  assert.ok(stream.whipUrl.includes(stream.streamKey));
  assert.notEqual(stream.outputPlaybackId, "");
  assert.equal(typeof stream.outputStreamUrl, "string");
  assert.ok(!Number.isNaN(Date.parse(stream.createdAt)), stream.createdAt);
  assert.equal(stream.params.isUnknown, undefined, JSON.stringify(stream.params.raw));
  assert.equal(stream.params.modelId, modelId);
  assert.equal(typeof stream.params.guidanceScale, "number");
  assert.equal(typeof stream.params.normalizePromptWeights, "boolean");
  assert.ok(Array.isArray(stream.params.tIndexList));
  assert.equal(typeof stream.params.imagePreprocessing.enabled, "boolean");
  assert.ok(Array.isArray(stream.params.controlnets));
}

async function life(daydream, errors, modelId) {
  const prompt = [["paper lantern", 1], ["frosted glass", 0.4]];
  const name = `client of ${modelId}`;
  const created = await daydream.streams.create({
    pipeline: "streamdiffusion",
    name,
    params: { modelId, prompt, seed: [[7, 0.5], [8, 0.5]], width: 512, height: 512, tIndexList: [16, 32] },
  });
  assertStream(created, modelId);
  assert.equal(created.name, name);
  assert.deepEqual(created.params.prompt, prompt);
  assert.deepEqual(created.params.seed, [[7, 0.5], [8, 0.5]]);

  const updated = await daydream.streams.update({
    id: created.id,
    body: { pipeline: "streamdiffusion", params: { modelId, prompt: "ink sketch", guidanceScale: 1.4 } },
  });
  assertStream(updated, modelId);
  assert.equal(updated.params.prompt, "ink sketch");
  assert.equal(updated.params.guidanceScale, 1.4);
  assert.deepEqual(updated.params.tIndexList, [16, 32]);
  assert.deepEqual(updated.params.seed, created.params.seed);

  const read = await daydream.streams.getById({ id: created.id });
  assertStream(read, modelId);
  assert.deepEqual(read, updated);

  const all = await daydream.streams.getAll();
  assert.equal(all.success, true);
  assert.ok(all.data.some((stream) => stream.id === created.id && stream.whip_url === created.whipUrl));

  for (const tIndexList of [[], [1, 2, 3, 4, 5], [3, 2], [51]]) {
    const bad = { id: created.id, body: { pipeline: "streamdiffusion", params: { modelId, tIndexList } } };
    await assert.rejects(daydream.streams.update(bad), (error) => {
      assert.ok(error instanceof errors.BadRequestError, error);
      assert.deepEqual([error.success, error.status], [false, 400]);
      assert.ok(error.details.fields[0].path.includes("t_index_list"), JSON.stringify(error.details));
      return true;
    });
  }
  assert.deepEqual((await daydream.streams.getById({ id: created.id })).params.tIndexList, [16, 32]);

  const gone = await daydream.streams.delete({ id: created.id });
  assert.equal(gone.success, true);
  for (const call of [
    () => daydream.streams.delete({ id: created.id }),
    () => daydream.streams.getById({ id: created.id }),
    () => daydream.streams.update({ id: created.id, body: { pipeline: "streamdiffusion", params: { modelId } } }),
  ]) {
    await assert.rejects(call(), (error) => {
      assert.ok(error instanceof errors.NotFoundError, error);
      assert.equal(error.code, "STREAMS/NOT_FOUND");
      return true;
    });
  }
}

for (const sdk of ["sdk-zod-3.25", "sdk-zod-4.3", "sdk-zod-4.6"]) {
  const { Daydream } = await import(sdk);
  const errors = await import(`${sdk}/models/errors`);
  const daydream = new Daydream({ bearer: key, serverURL: base });
  for (const modelId of MODELS) await life(daydream, errors, modelId);
  if (open) continue;
  const stranger = new Daydream({ bearer: "wrong", serverURL: base });
  await assert.rejects(stranger.streams.getAll(), (error) => error instanceof errors.UnauthorizedError);
}
