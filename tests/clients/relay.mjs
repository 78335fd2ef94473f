// The page in Chromium, through a TURN server alone: `node relay.mjs CHROMIUM BASE`.
//
// Chromium may use relayed candidates only, so that the page sees the pictures of its demo clip only if it gets the server's
// address and a password before its offer, and if both directions pass through the TURN server.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";
import { ARGS, PATIENCE } from "./chromium.mjs";

const [executablePath, base] = process.argv.slice(2);

/** Before the page's scripts: limits connections to relayed candidates, and collects them. */
const relayOnly = () => {
  const Connection = window.RTCPeerConnection;
  window.connections = [];
  window.RTCPeerConnection = class extends Connection {
    constructor(configuration) {
      super({ ...configuration, iceTransportPolicy: "relay" });
      window.connections.push(this);
    }
  };
};

/** The kind of candidate that each connection uses, by the server that relays it; once pictures are shown. */
const routes = async () => {
  const video = document.getElementById("output");
  if (video.videoWidth === 0 || video.currentTime === 0) return undefined;
  const found = [];
  for (const connection of window.connections.filter((one) => one.connectionState === "connected")) {
    const stats = await connection.getStats();
    const transport = [...stats.values()].find(({ type }) => type === "transport");
    const pair = stats.get(transport?.selectedCandidatePairId);
    const local = stats.get(pair?.localCandidateId);
    found.push({ kind: local?.candidateType, url: local?.url, bytes: Math.max(pair?.bytesSent ?? 0, pair?.bytesReceived ?? 0) });
  }
  return found.length >= 2 ? found : undefined;
};

const browser = await chromium.launch({ executablePath, args: ARGS });
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(error));
  await page.addInitScript(relayOnly);
  await page.goto(base);
  await page.click("#start");
  const end = Date.now() + PATIENCE;
  let found;
  while (!(found = await page.evaluate(routes))) {
    assert.ok(Date.now() < end, "no picture came through the relay within a minute");
    await new Promise((done) => setTimeout(done, 200));
  }
  assert.equal(found.length, 2, "one connection publishes, one watches");
  for (const { kind, url, bytes } of found) {
    assert.equal(kind, "relay");
    assert.match(url, /^turn:127\.0\.0\.1:\d+/);
    assert.ok(bytes > 0, `${bytes} bytes`);
  }
} finally {
  await browser.close();
}
