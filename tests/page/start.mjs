// Measures the start of the server as its user sees it, in Chromium on the same machine:
//
//     node start.mjs PACKAGES CHROMIUM PROGRAM [--rounds 5] [-- OPTIONS OF serve]
//
// From the start of the process until it listens, until the page can be clicked, and from the click on "Play the demo
// clip" until the page shows a picture that is not black. Prints one line of JSON for each round, and the medians.
// PACKAGES is the folder whose node_modules has playwright-core. The browser runs before the server starts.

import { parseArgs } from "node:util";
import { chromiumOf, FLAGS, serve } from "./program.mjs";

const own = process.argv.slice(2);
const split = own.indexOf("--");
const { positionals, values } = parseArgs({
  args: split < 0 ? own : own.slice(0, split),
  allowPositionals: true,
  options: { rounds: { type: "string", default: "5" } },
});
const [packages, executablePath, program] = positionals;
const options = split < 0 ? [] : own.slice(split + 1);
const PATIENCE = 180_000;

/** Runs in the page: resolves when the output shows a picture that is not black. */
function firstPicture() {
  const video = document.getElementById("output");
  const canvas = Object.assign(document.createElement("canvas"), { width: 16, height: 16 });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  return new Promise((done) => {
    const shown = () => {
      pen.drawImage(video, 0, 0, 16, 16);
      const { data } = pen.getImageData(0, 0, 16, 16);
      if (data.some((value, at) => at % 4 < 3 && value > 24)) done();
      else video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);
  });
}

async function measure(browser) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const began = performance.now();
  const server = await serve(program, ["--bind", "127.0.0.1:0", ...options], "ignore");
  try {
    const listening = performance.now();
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    await page.goto(server.url);
    await page.waitForSelector("#start");
    const loaded = performance.now();
    await page.click("#start");
    await page.evaluate(firstPicture);
    const shown = performance.now();
    const ms = (from, to) => Math.round(to - from);
    return { listens_ms: ms(began, listening), page_ms: ms(began, loaded), picture_after_click_ms: ms(loaded, shown), picture_ms: ms(began, shown) };
  } finally {
    await context.close();
    await server.stop("SIGTERM");
  }
}

const browser = await chromiumOf(packages).launch({ executablePath, args: FLAGS });
const rows = [];
try {
  for (let round = 0; round < Number(values.rounds); round += 1) {
    rows.push(await measure(browser));
    console.log(JSON.stringify(rows.at(-1)));
  }
} finally {
  await browser.close();
}
const median = (name) => rows.map((row) => row[name]).sort((a, b) => a - b)[rows.length >> 1];
console.log(`medians: ${Object.keys(rows[0]).map((name) => `${name} ${median(name)}`).join(", ")}`);
