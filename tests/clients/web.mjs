// Clients of WHIP, WHEP and HLS for web pages, in Chromium against a server of ours: `node web.mjs CHROMIUM BASE`.
//
// Eyevinn's WHIP client publishes a canvas whose pictures carry numbers, once with its candidates in the offer and once as
// they are found; Livepeer's WHEP client, which finds out its address by a HEAD, and hls.js play what becomes of them.

import assert from "node:assert/strict";
import { SIDE, assertInOrder, inPage, passthrough } from "./chromium.mjs";

const [executablePath, base] = process.argv.slice(2);

/** Runs in the page: publishes, plays, and gives the numbers seen. */
async function session({ whipUrl, whepUrl, hlsUrl, side, trickle }) {
  const { source, read, player } = await import("/numbers.js");
  const { WHIPClient } = (await import("/whip.js")).all;
  const { createNewWHEP } = (await import("/whep.js")).all;
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
  const element = player();
  const callbacks = { onError: (error) => faults.push(`WHEP: ${error.message}`) };
  const whep = createNewWHEP({ source: whepUrl, element, callbacks, accessControl: {}, sdpTimeout: null });
  const watched = await read(element, side, 20);
  whep.destroy();
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
  return { seen, watched, sent: pictures.sent, resource, state, methods, faults };
}

for (const trickle of [false, true]) {
  const stream = await passthrough(base);
  const id = stream.output_playback_id;
  const asked = { whipUrl: stream.whip_url, whepUrl: `${base}/webrtc/${id}`, hlsUrl: `${base}/hls/${id}/index.m3u8`, side: SIDE, trickle };
  const packages = { whip: "@eyevinn/whip-web-client", whep: "@livepeer/core-web/webrtc", hls: "hls.js" };
  const told = await inPage(executablePath, packages, session, asked);
  assertInOrder(told.watched, told.sent);
  assertInOrder(told.seen, told.sent);
  assert.match(told.state, /connected|completed/);
  assert.deepEqual(told.faults, []);
  for (const method of ["OPTIONS", "POST", "DELETE"]) assert.ok(told.methods.includes(method), `${method} in ${told.methods}`);
  assert.equal(told.methods.includes("PATCH"), trickle, told.methods);
  assert.ok(told.resource.startsWith(base), told.resource);
  assert.equal((await fetch(told.resource, { method: "DELETE" })).status, 404, "the session went with its publisher");
}
