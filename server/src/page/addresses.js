/** The addresses at which other programs publish and watch the stream of this page. */

import { el, freshId } from "./dom.js";

/** @typedef {import("./types.js").Stream} Stream */

/**
 * Creates a collapsed group of addresses, which is visible while there is a stream.
 *
 * @param {string} base  The address of the page's folder.
 * @returns {{element: HTMLElement, show: (stream: Stream | undefined) => void}}
 */
export function addresses(base) {
  const player = line("Player page", "The output alone, for a second screen or an iframe.");
  const whep = line("Watch by WHEP", "For players and other programs.");
  const hls = line("Watch by HLS", "For programs without WebRTC.");
  const whip = line("Send by WHIP", "For OBS, FFmpeg and others, which replace this page as the source.");
  const lines = [player, whep, hls, whip];
  const note = el("p", { class: "note" }, "Anyone with an address can use it: the last one to send, the others to watch.");
  const body = el("div", { class: "group-body" }, note, ...lines.map((one) => one.element));
  const element = el("details", { class: "panel group", hidden: true }, el("summary", {}, el("h2", {}, "Use it elsewhere")), body);
  const show = (/** @type {Stream | undefined} */ stream) => {
    element.hidden = stream === undefined;
    if (!stream) return;
    const id = stream.output_playback_id;
    player.show(new URL(`?v=${id}&autoplay&muted`, base).href);
    hls.show(new URL(`hls/${id}/index.m3u8`, base).href);
    whip.show(stream.whip_url);
    whep.show(new URL(`webrtc/${id}`, base).href);
  };
  return { element, show };
}

/**
 * An address that can be copied.
 *
 * @param {string} name
 * @param {string} help
 */
function line(name, help) {
  const input = el("input", { type: "text", id: freshId("address"), readOnly: true, onfocus: () => input.select() });
  const copy = el("button", { type: "button", "aria-label": `Copy the address: ${name}`, onclick: () => void put() }, "Copy");
  const put = async () => {
    try {
      await navigator.clipboard.writeText(input.value);
      copy.textContent = "Copied";
      setTimeout(() => (copy.textContent = "Copy"), 1500);
    } catch {
      // Without https a page may not copy; then the text is selected for copying manually.
      input.select();
    }
  };
  const label = el("label", { class: "name", for: input.id }, name);
  const element = el("div", { class: "row", "data-help": help }, label, el("div", { class: "copy-line" }, input, copy));
  return { element, show: (/** @type {string} */ url) => (input.value = url) };
}
