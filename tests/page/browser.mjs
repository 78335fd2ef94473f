// The page in Chromium against the program as a user starts it: `node browser.mjs PACKAGES CHROMIUM PROGRAM [PICTURES]`.
//
// PACKAGES is the folder whose node_modules has playwright-core; into PICTURES, where given, go pictures of the page.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromiumOf, FLAGS, serve } from "./program.mjs";

const [packages, executablePath, program, pictures] = process.argv.slice(2);
const PATIENCE = 120_000;
const CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];

/** The parameters of new streams: a quarter of the pixels, as a test build takes a second for a picture of the default size. */
const folder = mkdtempSync(join(tmpdir(), "dreamframe-page-"));
const initial = join(folder, "params.json");
writeFileSync(initial, JSON.stringify({ width: 256, height: 256 }));

/** Starts the server with these parameters. */
const start = (bind) => serve(program, ["--bind", bind, "--params", initial]);

/** Reads a small copy of a video: its mean colour, and its pixels. */
const look = (id) => {
  const video = document.getElementById(id);
  const canvas = Object.assign(document.createElement("canvas"), { width: 32, height: 32 });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(video, 0, 0, 32, 32);
  const { data } = pen.getImageData(0, 0, 32, 32);
  const mean = [0, 0, 0];
  for (let at = 0; at < data.length; at += 4) for (const c of [0, 1, 2]) mean[c] += data[at + c] / 1024;
  return { mean, pixels: [...data], width: video.videoWidth };
};

const apart = (a, b) => a.reduce((sum, value, at) => sum + Math.abs(value - b[at]), 0) / a.length;

/** Asks again until the answer is right. */
async function until(what, ask, within = PATIENCE) {
  const end = Date.now() + within;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    assert.ok(Date.now() < end, `not in time: ${what}`);
    await new Promise((done) => setTimeout(done, 200));
  }
}

/** Waits for pictures that are not black and that change. */
async function moving(page, id = "output") {
  let last;
  await until(`moving pictures in ${id}`, async () => {
    const now = await page.evaluate(look, id);
    const good = last && now.width > 0 && Math.max(...now.mean) > 12 && apart(now.pixels, last.pixels) > 0.4;
    last = now;
    return good;
  });
}

const words = (page, id) => page.textContent(`#${id}`);
const stream = (page, url) => page.evaluate(async (base) => (await fetch(`${base}/v1/streams/${sessionStorage.getItem("dreamframe.stream")}`)).json(), url);

async function picture(page, name) {
  if (!pictures) return;
  mkdirSync(pictures, { recursive: true });
  await page.screenshot({ path: join(pictures, `${name}.png`) });
}

/** Opens the page in a window of its own; what it complains of is collected. */
async function open(browser, url, options, complaints) {
  const page = await (await browser.newContext(options)).newPage();
  await page.addInitScript(midi);
  page.on("pageerror", (error) => complaints.push(error.stack ?? error.message));
  page.on("console", (message) => {
    if (message.type() === "error" && !/Failed to load resource|ERR_/.test(message.text())) complaints.push(message.text());
  });
  await page.goto(url);
  return page;
}

/** Every control has a name, and can be left again with Tab alone. */
async function accessible(page) {
  const nameless = await page.evaluate(() => [...document.querySelectorAll("input, select, textarea, button, summary")]
    .filter((one) => one.checkVisibility() && !(one.labels?.length || one.getAttribute("aria-label") || one.textContent.trim()))
    .map((one) => one.outerHTML));
  assert.deepEqual(nameless, []);
  const count = await page.evaluate(() => [...document.querySelectorAll("input, select, textarea, button, summary")]
    .filter((one) => one.checkVisibility() && !one.disabled && one.tabIndex >= 0 && one.type !== "file").length);
  await page.evaluate(() => document.activeElement?.blur?.());
  const seen = new Set();
  for (let step = 0; step < count + 5; step += 1) {
    await page.keyboard.press("Tab");
    seen.add(await page.evaluate(() => {
      const one = document.activeElement;
      one.dataset.seen ??= String(Math.random());
      return one.dataset.seen;
    }));
  }
  assert.ok(seen.size >= count, `Tab reaches ${seen.size} of ${count} controls`);
}

async function desktop(browser, url, complaints) {
  const page = await open(browser, url, { viewport: { width: 1280, height: 800 }, colorScheme: "light" }, complaints);
  await page.click("#start");
  await moving(page);
  await until("figures", async () => Number(await words(page, "figure-out")) > 0 && Number(await words(page, "figure-in")) > 0);
  await until("the state", async () => /^Live/.test(await words(page, "state-text")));
  await until("a latency", async () => Number(await words(page, "figure-latency")) > 0);
  await moving(page);
  await picture(page, "desktop-light-live");

  const before = await page.evaluate(look, "output");
  await page.click('[data-prompt="thermal camera"]');
  await until("another prompt in the picture", async () => apart((await page.evaluate(look, "output")).mean, before.mean) > 12);
  assert.equal((await stream(page, url)).params.prompt, "thermal camera");

  await page.focus('[data-path="creativity"] input[type="range"]');
  const [first] = (await stream(page, url)).params.t_index_list;
  for (let press = 0; press < 40; press += 1) await page.keyboard.press("ArrowRight");
  await until("noisier places by keyboard", async () => (await stream(page, url)).params.t_index_list[0] < first);

  await page.focus('text="Quality" >> nth=0');
  await page.keyboard.press("Enter");
  await until("the preset's rows", async () => (await stream(page, url)).params.t_index_list.length === 4);
  assert.equal(await page.getAttribute('.chip:text("Quality")', "aria-pressed"), "true");
  await page.click('.chip:text("Balanced")');

  await page.click("text=Blend another prompt");
  await page.keyboard.type("moonlit night");
  await until("two prompts", async () => JSON.stringify((await stream(page, url)).params.prompt) === '[["thermal camera",1],["moonlit night",0.5]]');
  await moving(page);
  for (const group of await page.$$("details.group:not([open]) > summary")) if (await group.isVisible()) await group.click();
  await accessible(page);
  await picture(page, "desktop-light-blend");
  return page;
}

/** The negative prompt cannot be typed while it has no effect, and the page says why and offers to use it. */
async function negative(page, url) {
  await page.click("#negative-place > summary");
  assert.ok(await page.isDisabled("#negative"));
  assert.match(await words(page, "negative-note"), /Has no effect: guidance of the kind “self” does not use a negative prompt/);
  await picture(page, "desktop-light-negative");
  await page.click("#negative-use");
  await until("guidance that uses it", async () => (await stream(page, url)).pipeline_params.cfg_type === "full");
  assert.equal((await stream(page, url)).params.guidance_scale, 1.5);
  assert.ok(await page.isEnabled("#negative") && await page.isHidden("#negative-note"));
  await page.fill("#negative", "fog");
  await until("the negative prompt", async () => (await stream(page, url)).params.negative_prompt === "fog");
  await moving(page);
  await picture(page, "desktop-light-negative-used");
  await page.selectOption('[data-path="cfg_type"] select', "self");
  await until("no use of it", async () => await page.isDisabled("#negative"));
  assert.equal(await page.inputValue("#negative"), "fog", "it is kept");
}

/** What the server refuses is told in words, and taken back. The controls ask for nothing that it refuses, so what they ask is altered on its way. */
async function refusal(page, url) {
  const steps = page.locator('[data-path="num_inference_steps"] input.number');
  const before = await steps.inputValue();
  const alter = (route) => {
    const request = route.request();
    route.continue(request.method() === "PATCH" ? { postData: JSON.stringify({ params: { num_inference_steps: 0 } }) } : {});
  };
  await page.route("**/v1/streams/*", alter);
  const ask = async () => {
    await steps.fill("40");
    await steps.press("Enter");
  };
  await ask();
  let rounds = 0;
  await until("a message", async () => {
    if (/num_inference_steps/.test(await words(page, "toast"))) return true;
    // The answer to an earlier change may have set the control again between the two.
    if ((rounds += 1) % 40 === 0) await ask();
    return false;
  });
  await picture(page, "desktop-light-refusal");
  await until("the old value", async () => (await steps.inputValue()) === before);
  await page.unroute("**/v1/streams/*", alter);
  assert.equal((await stream(page, url)).params.num_inference_steps, Number(before));
}

/** What fails when it is loaded is told in words, too, and the settings are those in force. */
async function failure(page, url) {
  const id = await page.evaluate(() => sessionStorage.getItem("dreamframe.stream"));
  // A processor whose network is not installed.
  const params = { image_preprocessing: { processors: [{ type: "depth" }] } };
  const answer = await fetch(`${url}/v1/streams/${id}`, { method: "PATCH", headers: { "content-type": "application/json" }, body: JSON.stringify({ params }) });
  assert.equal(answer.status, 200, await answer.text());
  await until("a message about the failure", async () => /not found/i.test(await words(page, "toast")));
  await picture(page, "desktop-light-failure");
  assert.deepEqual((await stream(page, url)).params.image_preprocessing.processors, []);
  await moving(page);
}

/** What an artist plays with: fades, lists of prompts, presets, keys and MIDI, recordings, the full screen. */
async function artist(page, url) {
  const params = async () => (await stream(page, url)).params;
  const patches = [];
  page.on("request", (request) => request.method() === "PATCH" && patches.push(request.postDataJSON()));

  await page.fill('text="Fade to a new prompt, in seconds" >> xpath=following-sibling::input', "0.5");
  await page.keyboard.press("Tab");
  await page.fill("#prompt-0", "ink drawing");
  await until("a faded prompt", () => patches.some(({ transition }) => transition?.duration === 0.5));
  await until("its end", async () => JSON.stringify((await params()).prompt).includes("ink drawing"));

  await page.locator("details.playlist").evaluate((list) => (list.open = true));
  await page.fill("details.playlist textarea", "neon city\nthermal camera");
  await page.fill('text="Seconds for each" >> xpath=following-sibling::input', "1");
  await page.keyboard.press("Tab");
  await page.click("#playlist-play");
  for (const prompt of ["neon city", "thermal camera", "neon city"]) await until(`the prompt ${prompt}`, async () => (await params()).prompt === prompt);
  await picture(page, "artist-list");
  await page.click("#playlist-play");
  assert.equal(await words(page, "playlist-play"), "Play the list");

  await page.locator("#own-presets").evaluate((group) => (group.open = true));
  await page.fill('[aria-label="Name of a new preset"]', "Night");
  await page.keyboard.press("Enter");
  const saved = (await params()).prompt;
  await page.fill("#prompt-0", "something else");
  await until("another prompt", async () => (await params()).prompt === "something else");
  await page.click('#own-presets .chip:text("Night")');
  await until("the prompt of the preset", async () => (await params()).prompt === saved);
  await page.evaluate(() => (location.hash = `preset=${encodeURIComponent(JSON.stringify({ name: "By link", params: { prompt: "by a link" } }))}`));
  const question = await page.locator("#preset-dialog").innerText();
  assert.ok(question.includes("prompt") && question.includes("by a link") && question.includes(saved), question);
  await picture(page, "artist-preset-link");
  assert.equal((await params()).prompt, saved, "not before it is agreed to");
  await page.click('#preset-dialog button[value="set"]');
  await until("the preset of the link", async () => (await params()).prompt === "by a link");
  await page.evaluate(() => (location.hash = `preset=${encodeURIComponent(JSON.stringify({ name: "Refused", params: { prompt: "refused" } }))}`));
  await page.click('#preset-dialog button[value=""]');
  assert.equal((await params()).prompt, "by a link");
  assert.equal(new URL(page.url()).hash, "");
  assert.deepEqual(await page.locator("#own-presets .pair-name").allTextContents(), ["Night", "By link"]);

  await page.locator("#mappings").evaluate((group) => (group.open = true));
  await page.click("#learn");
  await page.focus('[data-path="creativity"] input[type="range"]');
  await page.keyboard.press("q");
  await page.evaluate(() => window.turn(0xb0, 7, 0));
  await picture(page, "artist-learn");
  await page.click("#learn");
  const creativity = () => page.inputValue('[data-path="creativity"] input[type="range"]').then(Number);
  await page.evaluate(() => window.turn(0xb0, 7, 127));
  assert.equal(await creativity(), 10);
  await page.keyboard.press("Shift+Q");
  assert.equal(await creativity(), 9.75);
  const before = await creativity();
  await page.fill("#prompt-0", "quiet");
  assert.equal(await creativity(), before, "keys in texts move nothing");
  await page.evaluate(() => window.turn(0xb0, 7, 64));

  await moving(page);
  const download = page.waitForEvent("download");
  const asked = page.waitForRequest(/recording\?seconds=/);
  await page.hover("#save");
  await page.mouse.down();
  await until("the fourth second", async () => /[45] s/.test(await words(page, "save")), 20_000);
  await picture(page, "artist-record");
  await page.mouse.up();
  assert.match((await asked).url(), /seconds=[45]$/);
  assert.match((await download).suggestedFilename(), /^dreamframe-.*\.mp4$/);

  await page.click("#full");
  await until("the full screen", () => page.evaluate(() => document.fullscreenElement?.classList.contains("picture-output")));
  await page.click("#full");
  await until("the page", () => page.evaluate(() => document.fullscreenElement === null));
}

/** A clip is created, its page plays it without the stream's owner, its settings are those of the stream, and it can be deleted. */
async function share(browser, page, url, complaints) {
  await moving(page);
  await page.focus("#share");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#share-dialog", { timeout: PATIENCE });
  await picture(page, "share-dialog");
  const link = await page.inputValue("#share-link");
  assert.match(link, /^http:\/\/127\.0\.0\.1:\d+\/clips\/clip_\w{16}$/);
  const viewer = await open(browser, link, { viewport: { width: 1280, height: 800 }, colorScheme: "light" }, complaints);
  await until("the clip plays", () => viewer.evaluate(() => document.getElementById("video").currentTime > 0.1));
  assert.ok((await viewer.evaluate(look, "video")).width > 0);
  const { prompt } = (await stream(page, url)).params;
  assert.equal(await words(viewer, "prompt"), prompt);
  await accessible(viewer);
  await picture(viewer, "clip-desktop");
  await viewer.click("#use");
  const question = await viewer.locator("#preset-dialog").innerText();
  assert.ok(question.includes("prompt") && question.includes(prompt), question);
  await viewer.close();
  await page.click('#share-dialog button:text("Delete")');
  await until("words about the deletion", async () => /deleted/.test(await words(page, "toast")));
  assert.equal((await fetch(link)).status, 404);
  await until("the end of the dialog", async () => (await page.locator("#share-dialog").count()) === 0);
}

/** A MIDI input that the test turns. */
const midi = () => {
  const input = { onmidimessage: null };
  window.turn = (...data) => input.onmidimessage?.({ data: new Uint8Array(data) });
  navigator.requestMIDIAccess = async () => ({ inputs: new Map([["1", input]]), addEventListener() {} });
};

async function phone(browser, url, complaints) {
  const page = await open(browser, url, { viewport: { width: 390, height: 844 }, colorScheme: "dark", deviceScaleFactor: 2, isMobile: true, hasTouch: true, reducedMotion: "reduce" }, complaints);
  await page.tap("#source-camera");
  await moving(page);
  await until("figures on the phone", async () => Number(await words(page, "figure-out")) > 0);
  await picture(page, "phone-dark-live");
  // Nothing is above them.
  for (const id of ["save", "share", "full"]) await page.tap(`#${id}`, { trial: true, timeout: 10_000 });
  const width = await page.evaluate(() => document.scrollingElement.scrollWidth);
  assert.ok(width <= 390, `the page is ${width} pixels wide`);
  await accessible(page);
  await until("names of devices", async () => (await page.locator("#camera-device option").count()) > 1 && (await page.locator("#microphone-device option").count()) > 1);
  await page.tap("#flip");
  await until("the other camera's button", async () => (await words(page, "flip")) === "Front camera");
  await moving(page);
  const hasSound = () => page.evaluate(async (base) => {
    const status = await (await fetch(`${base}/v1/streams/${sessionStorage.getItem("dreamframe.stream")}/status`)).text();
    return status.includes('"audio"');
  }, url);
  assert.equal(await hasSound(), false);
  await page.selectOption("#microphone-device", { index: 1 });
  await until("sound at the server", hasSound);
  await moving(page);
  await picture(page, "phone-dark-devices");
  await page.tap("#stop");
  await until("rest", async () => (await words(page, "state-text")) === "Ready");
  await page.close();
}

async function player(browser, url, main, complaints) {
  const { output_playback_id: id, stream_key: key } = await stream(main, url);
  for (const path of [`/?v=${id}&autoplay&muted&lowLatency=force`, `/${key}-out?muted`]) {
    const page = await open(browser, url + path, { viewport: { width: 640, height: 640 } }, complaints);
    await moving(page, "video");
    await page.close();
  }
}

const browser = await chromiumOf(packages).launch({ executablePath, args: [...FLAGS, ...CAMERA] });
let server;
try {
  server = await start("127.0.0.1:0");
  const { url } = server;
  const complaints = [];
  const page = await desktop(browser, url, complaints);
  await negative(page, url);
  await refusal(page, url);
  await failure(page, url);
  await artist(page, url);
  await share(browser, page, url, complaints);
  await player(browser, url, page, complaints);
  await phone(browser, url, complaints);
  await server.stop("SIGKILL");
  await until("words about the lost server", async () => /does not answer|was lost/.test(await words(page, "veil")));
  await picture(page, "desktop-light-lost");
  server = await start(new URL(url).host);
  await until("a stream of the new server", async () => /^Live/.test(await words(page, "state-text")));
  await moving(page);
  assert.equal((await stream(page, url)).params.prompt, "quiet", "the new stream has the settings of the old one");
  await picture(page, "desktop-light-back");
  assert.deepEqual(complaints, []);
} finally {
  await browser.close();
  await server?.stop("SIGKILL");
  rmSync(folder, { recursive: true });
}
