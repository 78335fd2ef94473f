// Daydream's browser SDK in Chromium against a server of ours: `node browser.mjs CHROMIUM BASE`.
//
// A page publishes a canvas whose pictures carry numbers, watches what comes back, and reads the numbers there.

import assert from "node:assert/strict";
import { SIDE, assertInOrder, inPage, passthrough } from "./chromium.mjs";

const [executablePath, base] = process.argv.slice(2);

/** Runs in the page: publishes, watches, and gives the numbers seen and what the SDK told of itself. */
async function session({ whipUrl, side }) {
  const { source, read, player: element } = await import("/numbers.js");
  const { createBroadcast, createPlayer } = (await import("/sdk.js")).all;
  const pictures = source(side, 12);
  const broadcast = createBroadcast({ whipUrl, stream: pictures.canvas.captureStream(12) });
  const states = [];
  broadcast.on("stateChange", (state) => states.push(state));
  await broadcast.connect();
  const player = createPlayer(broadcast.whepUrl);
  await player.connect();
  const video = element();
  player.attachTo(video);
  const seen = await read(video, side, 20);
  pictures.stop();
  await broadcast.stop();
  await player.stop();
  return { seen, states, sent: pictures.sent, whepUrl: broadcast.whepUrl, size: [video.videoWidth, video.videoHeight] };
}

const stream = await passthrough(base);
const told = await inPage(executablePath, { sdk: "@daydreamlive/browser" }, session, { whipUrl: stream.whip_url, side: SIDE });
assertInOrder(told.seen, told.sent);
assert.ok(told.states.includes("live"), told.states);
assert.ok(told.whepUrl.startsWith(base), told.whepUrl);
assert.deepEqual(told.size, [SIDE, SIDE]);
