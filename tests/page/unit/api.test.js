import assert from "node:assert/strict";
import { test } from "node:test";

import { Api } from "../../../server/src/page/api.js";

test("addresses that the server hands out stay at the page's origin", () => {
  const api = new Api("https://page.example/folder/");
  for (const url of [
    "https://inner:8889/webrtc/ses_1?x=1",
    "/webrtc/ses_1?x=1",
    "https://inner//other.example/webrtc/ses_1?x=1",
    "https://inner/\\other.example/webrtc/ses_1?x=1",
    "//other.example/webrtc/ses_1?x=1",
  ]) {
    const here = new URL(api.here(url));
    assert.equal(here.origin, "https://page.example", url);
    assert.ok(here.pathname.endsWith("/webrtc/ses_1"), url);
    assert.equal(here.search, "?x=1", url);
  }
});
