// Measures the page as its user sees it, in Chromium on the same machine, while other processes take a share of each core:
//
//     node latency.mjs PACKAGES CHROMIUM PROGRAM [--taken 0,25,50,75] [--seconds 30] [--settle 10] [-- OPTIONS OF serve]
//
// A time code is painted over each frame of the demo clip and read from the picture that the page shows, so the latency is
// that from drawing a frame to displaying its picture, whatever the page and the server report. Prints one line of JSON for
// each share, and a table. PACKAGES is the folder whose node_modules has playwright-core. To take processor time from others,
// the processes need the highest priority: run it as root, or the shares are only asked for.

import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { chromiumOf, FLAGS, serve } from "./program.mjs";

const own = process.argv.slice(2);
const split = own.indexOf("--");
const { positionals, values } = parseArgs({
  args: split < 0 ? own : own.slice(0, split),
  allowPositionals: true,
  options: {
    taken: { type: "string", default: "0,25,50,75" },
    seconds: { type: "string", default: "30" },
    settle: { type: "string", default: "10" },
  },
});
const [packages, executablePath, program] = positionals;
const serveOptions = split < 0 ? [] : own.slice(split + 1);
const PATIENCE = 180_000;

/** Takes `percent` of each core's time, in turns of 20 ms. */
function hogs(percent) {
  if (percent === 0) return () => {};
  const loop = `const cell = new Int32Array(new SharedArrayBuffer(4));
    for (;;) { const end = performance.now() + ${percent / 5}; while (performance.now() < end); Atomics.wait(cell, 0, 0, ${20 - percent / 5}); }`;
  const children = Array.from({ length: availableParallelism() }, (_, core) =>
    spawn("taskset", ["-c", String(core), "nice", "-n", "-20", process.execPath, "-e", loop], { stdio: "ignore" }));
  return () => children.forEach((child) => child.kill("SIGKILL"));
}

/** Runs in the page: paints the time over each frame of the source, and reads it from each picture of the output. */
function instrument() {
  const COLUMNS = 5, ROWS = 2, BITS = 8, UNIT = 40;
  const seen = { latencies: [], times: [], unreadable: 0, width: 0, height: 0 };
  window.seen = seen;
  const draw = CanvasRenderingContext2D.prototype.drawImage;
  CanvasRenderingContext2D.prototype.drawImage = function (...args) {
    draw.apply(this, args);
    if (this.canvas.hasAttribute("data-reads") || !(args[0] instanceof HTMLVideoElement)) return;
    const { width, height } = this.canvas;
    const count = Math.floor(performance.now() / UNIT) % (1 << BITS);
    const code = count ^ (count >> 1);
    // The first cell is black and the last is white, for comparison.
    for (let cell = 0; cell < COLUMNS * ROWS; cell += 1) {
      const white = cell === COLUMNS * ROWS - 1 || (cell > 0 && (code >> (cell - 1)) & 1);
      this.fillStyle = white ? "#fff" : "#000";
      const [w, h] = [width / COLUMNS, height / 8];
      this.fillRect((cell % COLUMNS) * w, Math.floor(cell / COLUMNS) * h, w, h);
    }
  };
  const canvas = Object.assign(document.createElement("canvas"), { width: COLUMNS * 4, height: ROWS * 4 });
  canvas.setAttribute("data-reads", "");
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const read = (video) => {
    pen.drawImage(video, 0, 0, video.videoWidth, video.videoHeight / 4, 0, 0, canvas.width, canvas.height);
    const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
    const light = Array.from({ length: COLUMNS * ROWS }, (_, cell) => {
      let sum = 0;
      for (const y of [1, 2]) for (const x of [1, 2]) {
        const at = ((Math.floor(cell / COLUMNS) * 4 + y) * canvas.width + (cell % COLUMNS) * 4 + x) * 4;
        sum += data[at] + data[at + 1] + data[at + 2];
      }
      return sum / 12;
    });
    const [black, white] = [light[0], light.at(-1)];
    if (Math.abs(white - black) < 30) return undefined;
    let count = 0;
    for (let bit = BITS - 1; bit >= 0; bit -= 1) {
      const one = (light[bit + 1] - black) / (white - black) > 0.5 ? 1 : 0;
      count |= (((count >> (bit + 1)) & 1) ^ one) << bit;
    }
    return count;
  };
  addEventListener("DOMContentLoaded", () => {
    const video = document.getElementById("output");
    const shown = (_, frame) => {
      const count = read(video);
      if (count === undefined) seen.unreadable += 1;
      else {
        const span = UNIT << BITS;
        const late = (((frame.expectedDisplayTime - UNIT / 2 - count * UNIT) % span) + span) % span;
        seen.latencies.push(late);
        seen.times.push(frame.expectedDisplayTime);
      }
      Object.assign(seen, { width: frame.width, height: frame.height });
      video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);
  });
}

const rank = (values, share) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))];
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function measure(taken) {
  const server = await serve(program, ["--bind", "127.0.0.1:0", ...serveOptions], "ignore");
  const release = hogs(taken);
  const browser = await chromiumOf(packages).launch({ executablePath, args: FLAGS });
  try {
    const page = await (await browser.newContext({ viewport: { width: 1280, height: 800 } })).newPage();
    await page.addInitScript(instrument);
    await page.goto(server.url);
    await page.waitForSelector("#start");
    const began = Date.now();
    await page.click("#start");
    await page.waitForFunction(() => window.seen.latencies.length >= 3, undefined, { timeout: PATIENCE });
    const first = Date.now() - began;
    await pause(Number(values.settle) * 1000);
    const start = await page.evaluate(() => Object.assign(window.seen, { latencies: [], times: [], unreadable: 0 }) && performance.now());
    await pause(Number(values.seconds) * 1000);
    const { seen, now } = await page.evaluate(() => ({ seen: window.seen, now: performance.now() }));
    const gaps = seen.times.slice(1).map((time, at) => time - seen.times[at]);
    const figure = (id) => page.textContent(`#figure-${id}`).catch(() => null);
    return {
      taken_percent: taken,
      first_ms: first,
      fps: Math.round((seen.latencies.length * 10_000) / (now - start)) / 10,
      latency_ms: { p50: Math.round(rank(seen.latencies, 0.5)), p95: Math.round(rank(seen.latencies, 0.95)) },
      longest_gap_ms: Math.round(Math.max(0, ...gaps)),
      size: `${seen.width}x${seen.height}`,
      unreadable: seen.unreadable,
      page: { in: await figure("in"), out: await figure("out"), latency: await figure("latency") },
    };
  } finally {
    await browser.close();
    release();
    await server.stop("SIGTERM");
  }
}

const rows = [];
for (const taken of values.taken.split(",").map(Number)) {
  const row = await measure(taken);
  console.log(JSON.stringify(row));
  rows.push(row);
}
console.log("\n| time taken | size | fps | latency p50 | p95 | longest gap | first pictures |\n|---|---|---|---|---|---|---|");
for (const { taken_percent, size, fps, latency_ms, longest_gap_ms, first_ms } of rows) {
  console.log(`| ${taken_percent} % | ${size} | ${fps} | ${latency_ms.p50} ms | ${latency_ms.p95} ms | ${longest_gap_ms} ms | ${first_ms} ms |`);
}
