// A page of another origin in Chromium, as every page of a client is, and pictures that carry numbers.

import assert from "node:assert/strict";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";

const ORIGIN = "http://page.test";
export const ARGS = [
  "--no-sandbox",
  "--allow-loopback-in-peer-connection",
  "--autoplay-policy=no-user-gesture-required",
  // Chromium would ask whether a page from elsewhere may reach this machine.
  "--disable-features=LocalNetworkAccessChecks",
];
export const PATIENCE = 120_000;
export const SIDE = 256;

/** For the page: draws numbers as stripes, each bit above its opposite, and reads them. */
const numbers = `
const BITS = 11;
export function draw(pen, number, side) {
  for (let bit = 0; bit < BITS; bit += 1) {
    for (const [row, one] of [[0, (number >> bit) & 1], [1, ((number >> bit) & 1) ^ 1]]) {
      pen.fillStyle = one ? "#e0e0e0" : "#202020";
      pen.fillRect((bit * side) / BITS, (row * side) / 2, side / BITS, side / 2);
    }
  }
}
/** A canvas with one number after the other. */
export function source(side, fps) {
  const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const pen = canvas.getContext("2d");
  const numbered = { sent: 0, canvas };
  const next = () => draw(pen, (numbered.sent += 1), side);
  next();
  const timer = setInterval(next, 1000 / fps);
  numbered.stop = () => clearInterval(timer);
  return numbered;
}
/** Reads so many numbers, those that follow each other being different. */
export async function read(video, side, wanted) {
  const glass = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const eye = glass.getContext("2d", { willReadFrequently: true });
  const seen = [];
  while (seen.length < wanted) {
    await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
    eye.drawImage(video, 0, 0, side, side);
    const at = (bit, row) => eye.getImageData(((bit + 0.5) * side) / BITS, ((row + 0.5) * side) / 2, 1, 1).data[1] > 128;
    let number = 0;
    let sound = true;
    for (let bit = 0; bit < BITS; bit += 1) {
      if (at(bit, 0)) number |= 1 << bit;
      sound &&= at(bit, 0) !== at(bit, 1);
    }
    if (sound && number !== seen.at(-1)) seen.push(number);
  }
  return seen;
}
export function player() {
  const video = Object.assign(document.createElement("video"), { muted: true, autoplay: true, playsInline: true });
  document.body.append(video);
  return video;
}
`;

/** Makes a stream that gives back what it gets. */
export async function passthrough(base) {
  const reply = await fetch(`${base}/v1/streams`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ params: { skip_diffusion: true, width: SIDE, height: SIDE } }),
  });
  assert.equal(reply.status, 201);
  return reply.json();
}

/** Runs `session(arg)` in a page that can import "/numbers.js" and each of `packages`, as `all` of "/its-name.js". */
export async function inPage(executablePath, packages, session, arg) {
  const scripts = new Map([["/numbers.js", numbers]]);
  for (const [file, name] of Object.entries(packages)) {
    const stdin = { contents: `export * as all from "${name}";`, resolveDir: dirname(fileURLToPath(import.meta.url)) };
    const { outputFiles } = await build({ stdin, bundle: true, format: "esm", platform: "browser", write: false });
    scripts.set(`/${file}.js`, outputFiles[0].text);
  }
  const browser = await chromium.launch({ executablePath, args: ARGS });
  try {
    const page = await browser.newPage();
    page.on("pageerror", (error) => console.error(error));
    await page.route(`${ORIGIN}/**`, async (route) => {
      const script = scripts.get(new URL(route.request().url()).pathname);
      await route.fulfill({ body: script ?? "<!doctype html><title>page</title>", contentType: script ? "text/javascript" : "text/html" });
    });
    await page.goto(ORIGIN);
    const late = new Promise((_, reject) => setTimeout(() => reject(new Error("not done within two minutes")), PATIENCE).unref());
    return await Promise.race([page.evaluate(session, arg), late]);
  } finally {
    await browser.close();
  }
}

/** Numbers that were seen, in the order in which they were sent. */
export function assertInOrder(seen, sent) {
  assert.deepEqual(seen, [...seen].sort((a, b) => a - b));
  assert.ok(seen.every((number) => number <= sent), `${seen} of ${sent}`);
}
