// Daydream's browser SDK in Chromium against a server of ours: `node browser.mjs CHROMIUM BASE`.
//
// A page publishes a canvas whose pictures carry numbers, watches what comes back, and reads the numbers there.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { chromium } from "playwright-core";

const [executablePath, base] = process.argv.slice(2);
const SIDE = 384;
const WANTED = 40;

/** Runs in the page: publishes, watches, and gives the numbers seen and what the SDK told of itself. */
async function session({ whipUrl, side, wanted }) {
  const { createBroadcast, createPlayer } = await import("/browser-sdk.js");
  const bits = 16;
  const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const pen = canvas.getContext("2d");
  let sent = 0;
  const draw = () => {
    sent += 1;
    for (let bit = 0; bit < bits; bit += 1) {
      for (const [row, one] of [[0, (sent >> bit) & 1], [1, ((sent >> bit) & 1) ^ 1]]) {
        pen.fillStyle = one ? "#e0e0e0" : "#202020";
        pen.fillRect((bit * side) / bits, (row * side) / 2, side / bits, side / 2);
      }
    }
  };
  draw();
  const timer = setInterval(draw, 1000 / 12);
  const broadcast = createBroadcast({ whipUrl, stream: canvas.captureStream(12) });
  const states = [];
  broadcast.on("stateChange", (state) => states.push(state));
  await broadcast.connect();
  const player = createPlayer(broadcast.whepUrl);
  await player.connect();
  const video = Object.assign(document.createElement("video"), { muted: true, autoplay: true, playsInline: true });
  document.body.append(video);
  player.attachTo(video);

  const glass = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const eye = glass.getContext("2d", { willReadFrequently: true });
  const numbers = [];
  while (numbers.length < wanted) {
    await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
    eye.drawImage(video, 0, 0, side, side);
    const at = (bit, row) => eye.getImageData(((bit + 0.5) * side) / bits, ((row + 0.5) * side) / 2, 1, 1).data[1] > 128;
    let number = 0;
    let sound = true;
    for (let bit = 0; bit < bits; bit += 1) {
      if (at(bit, 0)) number |= 1 << bit;
      sound &&= at(bit, 0) !== at(bit, 1);
    }
    if (sound && number !== numbers.at(-1)) numbers.push(number);
  }
  clearInterval(timer);
  await broadcast.stop();
  await player.stop();
  return { numbers, states, sent, whepUrl: broadcast.whepUrl, size: [video.videoWidth, video.videoHeight] };
}

const sdk = join(dirname(createRequire(import.meta.url).resolve("@daydreamlive/browser")), "index.js");
// Chromium would ask whether a page from elsewhere may reach this machine.
const local = "--disable-features=LocalNetworkAccessChecks";
const args = ["--no-sandbox", "--allow-loopback-in-peer-connection", local];
const browser = await chromium.launch({ executablePath, args });
try {
  const reply = await fetch(`${base}/v1/streams`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ params: { skip_diffusion: true, width: SIDE, height: SIDE } }),
  });
  assert.equal(reply.status, 201);
  const stream = await reply.json();
  const page = await browser.newPage();
  // A page of another origin, as every page of a client is.
  await page.route("http://page.test/**", async (route) => {
    const script = route.request().url().endsWith("/browser-sdk.js");
    const body = script ? await readFile(sdk, "utf8") : "<!doctype html><title>page</title>";
    await route.fulfill({ body, contentType: script ? "text/javascript" : "text/html" });
  });
  await page.goto("http://page.test/");
  const seen = await Promise.race([
    page.evaluate(session, { whipUrl: stream.whip_url, side: SIDE, wanted: WANTED }),
    new Promise((_, reject) => setTimeout(() => reject(new Error("no pictures within a minute")), 60_000).unref()),
  ]);
  assert.deepEqual(seen.numbers, seen.numbers.toSorted((a, b) => a - b));
  assert.ok(seen.numbers.every((number) => number <= seen.sent));
  assert.ok(seen.states.includes("live"), seen.states);
  assert.ok(seen.whepUrl.startsWith(base), seen.whepUrl);
  assert.deepEqual(seen.size, [SIDE, SIDE]);
} finally {
  await browser.close();
}
