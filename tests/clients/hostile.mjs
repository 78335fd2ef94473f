// A hostile page in Chromium against a server without keys: `node hostile.mjs CHROMIUM BASE`.
//
// The page is of another origin, knows every name of a stream, and tries what pages can try: to read, to make, to change, to
// publish, to watch; then the same after its own name has come to mean this machine (DNS rebinding). None of it may work.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [executablePath, base] = process.argv.slice(2);
const { port } = new URL(base);
const ARGS = [
  "--no-sandbox",
  "--allow-loopback-in-peer-connection",
  // What other browsers let a page do, Chromium would ask about.
  "--disable-features=LocalNetworkAccessChecks",
  "--host-resolver-rules=MAP rebound.test 127.0.0.1",
];
const PATIENCE = 60_000;

const ask = async (path, options) => (await fetch(base + path, options)).json();
const json = { "content-type": "application/json" };

/** What the server has, as a program of this machine sees it. */
async function state(id) {
  const { data } = await ask(`/v1/streams/${id}/status`);
  const { data: streams } = await ask("/v1/streams");
  return { streams, state: data.state, published: data.gateway_status.whep_url };
}

/** Runs in the page: tries everything at `base`, and gives what was read or taken. */
async function attack({ base, id, key, playback }) {
  const got = [];
  const body = JSON.stringify({ params: { prompt: "changed" }, output_rtmp_url: "rtmp://hostile.test/app/key" });
  const json = { "content-type": "application/json" };
  const text = { "content-type": "text/plain" };
  const peer = new RTCPeerConnection();
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
  canvas.getContext("2d").fillRect(0, 0, 64, 64);
  for (const track of canvas.captureStream(5).getTracks()) peer.addTrack(track);
  await peer.setLocalDescription();
  const viewer = new RTCPeerConnection();
  viewer.addTransceiver("video", { direction: "recvonly" });
  await viewer.setLocalDescription();
  const sdp = { "content-type": "application/sdp" };
  const offers = { whip: peer.localDescription.sdp, whep: viewer.localDescription.sdp };
  const tries = [
    ["GET", "/v1/streams"],
    ["GET", `/v1/streams/${id}`],
    ["GET", `/v1/streams/${id}/status`],
    ["GET", `/v1/streams/${id}/recording`],
    ["POST", `/v1/streams/${id}/clips`, text, "{}"],
    ["GET", "/metrics"],
    ["GET", `/hls/${playback}/index.m3u8`],
    ["POST", "/v1/streams", json, body],
    ["POST", "/v1/streams", text, body],
    ["POST", `/beta/streams/${id}/prompts`, text, body],
    ["POST", "/api/v1/pipeline/load", text, '{"pipeline_ids": ["passthrough"]}'],
    ["PATCH", `/v1/streams/${id}`, json, body],
    ["PUT", `/v1/streams/${id}`, text, body],
    ["DELETE", `/v1/streams/${id}`],
    ["DELETE", `/v1/streams?id=${id}`],
    ["POST", `/live/video-to-video/${key}/whip`, sdp, offers.whip],
    ["POST", `/live/video-to-video/${key}/whip`, text, offers.whip],
    ["POST", `/live/video-to-video/${key}-out/whep`, sdp, offers.whep],
    ["POST", `/webrtc/${playback}`, sdp, offers.whep],
  ];
  for (const [method, path, headers, body] of tries) {
    for (const mode of ["cors", "no-cors"]) {
      if (mode === "no-cors" && !["GET", "POST"].includes(method)) continue;
      try {
        const reply = await fetch(base + path, { method, headers, body, mode });
        // One that cannot be read has the type "opaque", and no status; one of this page's own origin can be read.
        if (reply.ok) got.push([mode, method, path, await reply.text()]);
        if (reply.type === "cors") got.push([mode, method, path, reply.status]);
      } catch {
        // Refused by the browser, which is what should come of it.
      }
    }
  }
  const form = document.createElement("form");
  Object.assign(form, { method: "post", enctype: "text/plain", action: `${base}/v1/streams`, target: "sink" });
  const field = Object.assign(document.createElement("input"), { name: '{"name": "form', value: '"}' });
  form.append(field);
  const sink = Object.assign(document.createElement("iframe"), { name: "sink" });
  const beacon = navigator.sendBeacon(`${base}/v1/streams`, body);
  document.body.append(sink, form);
  const loaded = new Promise((resolve) => sink.addEventListener("load", resolve));
  form.submit();
  await loaded;
  peer.close();
  viewer.close();
  return { got, beacon };
}

const made = await ask("/v1/streams", { method: "POST", headers: json, body: JSON.stringify({ params: { prompt: "mine" } }) });
const { id, stream_key: key, output_playback_id: playback } = made;
const before = await state(id);
assert.deepEqual([before.streams.length, before.state, before.published], [1, "OFFLINE", undefined]);

const browser = await chromium.launch({ executablePath, args: ARGS });
try {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error("not done within a minute")), PATIENCE).unref());
  const page = await browser.newPage();
  const requests = [];
  page.on("request", (request) => requests.push(`${request.method()} ${request.url()}`));
  await page.route("http://hostile.test/**", (route) => route.fulfill({ body: "<!doctype html><title>hostile</title>", contentType: "text/html" }));
  await page.goto("http://hostile.test/");
  const { got } = await Promise.race([page.evaluate(attack, { base, id, key, playback }), late]);
  assert.deepEqual(got, []);
  // The browser did send them: it is the server that refuses.
  assert.ok(requests.some((request) => request === `POST ${base}/v1/streams`), requests.join("\n"));
  assert.deepEqual(await state(id), before);

  // A document of the page's own, at the server's port; then the name means this machine.
  const rebound = `http://rebound.test:${port}`;
  const first = await browser.newPage();
  await first.route(`${rebound}/`, (route) => route.fulfill({ body: "<!doctype html><title>hostile</title>", contentType: "text/html" }));
  await first.goto(`${rebound}/`);
  const again = await Promise.race([first.evaluate(attack, { base: rebound, id, key, playback }), late]);
  assert.deepEqual(again.got, []);
  const direct = await browser.newPage();
  const reply = await direct.goto(`${rebound}/v1/streams`);
  assert.equal(reply.status(), 403);
  assert.deepEqual(await state(id), before);
} finally {
  await browser.close();
}
