// Clients of WHIP and HLS for web pages, in Chromium against a server of ours: `node web.mjs CHROMIUM BASE`.
//
// Eyevinn's WHIP client publishes a canvas whose pictures carry numbers, once with its candidates in the offer and once as
// they are found, and hls.js plays what becomes of them.

import assert from "node:assert/strict";
import { SIDE, assertInOrder, inPage, passthrough } from "./chromium.mjs";

const [executablePath, base] = process.argv.slice(2);

/** Runs in the page: publishes, plays, and gives the numbers seen. */
async function session({ whipUrl, hlsUrl, side, trickle }) {
  const { source, read, player } = await import("/numbers.js");
  const { WHIPClient } = (await import("/whip.js")).all;
  const { default: Hls } = (await import("/hls.js")).all;
  const methods = [];
  const fetched = window.fetch;
  window.fetch = (url, options) => {
    methods.push(options?.method ?? "GET");
    return fetched(url, options);
  };
  const pictures = source(side, 12);
  const client = new WHIPClient({ endpoint: whipUrl, opts: { noTrickleIce: !trickle, iceServers: [], authkey: "any" } });
  await client.setIceServersFromEndpoint();
  await client.ingest(pictures.canvas.captureStream(12));
  const resource = await client.getResourceUrl();
  const [hls, video, faults] = [new Hls({ lowLatencyMode: true }), player(), []];
  hls.on(Hls.Events.ERROR, (_, { fatal, type, details }) => {
    // Before the publisher's first picture there is nothing to list.
    if (fatal && details === "manifestLoadError") setTimeout(() => hls.loadSource(hlsUrl), 500);
    else if (fatal) faults.push(`${type}: ${details}`);
  });
  hls.attachMedia(video);
  hls.loadSource(hlsUrl);
  const seen = await read(video, side, 30);
  const state = client.getICEConnectionState();
  pictures.stop();
  hls.destroy();
  await client.destroy();
  return { seen, sent: pictures.sent, resource, state, methods, faults };
}

for (const trickle of [false, true]) {
  const stream = await passthrough(base);
  const asked = { whipUrl: stream.whip_url, hlsUrl: `${base}/hls/${stream.output_playback_id}/index.m3u8`, side: SIDE, trickle };
  const told = await inPage(executablePath, { whip: "@eyevinn/whip-web-client", hls: "hls.js" }, session, asked);
  assertInOrder(told.seen, told.sent);
  assert.match(told.state, /connected|completed/);
  assert.deepEqual(told.faults, []);
  for (const method of ["OPTIONS", "POST", "DELETE"]) assert.ok(told.methods.includes(method), `${method} in ${told.methods}`);
  assert.equal(told.methods.includes("PATCH"), trickle, told.methods);
  assert.ok(told.resource.startsWith(base), told.resource);
  assert.equal((await fetch(told.resource, { method: "DELETE" })).status, 404, "the session went with its publisher");
}
