/** The two pictures, the buttons below them, the measurements, and the status text. */

import { byId, el, icon, present } from "./dom.js";
import { holdable } from "./record.js";

/** @typedef {import("./sources.js").Source} Source */
/** @typedef {"idle" | "busy" | "good" | "weak" | "bad"} Tone */
/** @typedef {{text: string, detail?: string, tone: Tone, action?: "retry" | "demo"}} Veil */

const TOAST = 8000;

export class Stage {
  output = byId("output", HTMLVideoElement);
  #input = byId("input", HTMLVideoElement);
  #pictures = byId("pictures", HTMLElement);
  #credit = byId("credit", HTMLElement);
  #file = byId("file", HTMLInputElement);
  #adapt = byId("adapt", HTMLInputElement);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #toastTimer;
  #veiled = "";
  /** @type {Record<"retry" | "demo", () => void>} */
  #actions = { retry: () => {}, demo: () => {} };

  /**
   * Shows the buttons of the available sources, and connects them.
   *
   * @param {{camera: boolean, screen: boolean, note: string}} available
   * @param {{choose: (kind: Source["kind"], file?: File) => void, stop: () => void, retry: () => void, save: (seconds: number) => void, share: (seconds: number) => void, adapt: (on: boolean) => void}} actions
   */
  offer({ camera, screen, note }, { choose, stop, retry, save, share, adapt }) {
    this.#actions = { retry, demo: () => choose("demo") };
    byId("source-camera", HTMLElement).hidden = !camera;
    byId("source-screen", HTMLElement).hidden = !screen;
    const words = byId("source-note", HTMLElement);
    words.textContent = note;
    words.hidden = note === "";
    for (const button of this.#buttons()) {
      const kind = /** @type {Source["kind"]} */ (button.dataset.source);
      button.addEventListener("click", () => (kind === "file" ? this.#file.click() : choose(kind)));
      button.disabled = false;
    }
    this.#file.addEventListener("change", () => {
      const [chosen] = this.#file.files ?? [];
      if (chosen) choose("file", chosen);
      // The same file may be chosen again.
      this.#file.value = "";
    });
    byId("stop", HTMLElement).addEventListener("click", stop);
    holdable(byId("save", HTMLButtonElement), save);
    holdable(byId("share", HTMLButtonElement), share);
    fullScreen(byId("full", HTMLButtonElement), this.output);
    this.#adapt.addEventListener("change", () => adapt(this.#adapt.checked));
  }

  #buttons() {
    return /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("button[data-source]"));
  }

  /** @param {Source["kind"]} kind */
  busy(kind) {
    for (const button of this.#buttons()) button.toggleAttribute("data-busy", button.dataset.source === kind);
  }

  /** @param {Source | undefined} source */
  source(source) {
    for (const button of this.#buttons()) {
      button.removeAttribute("data-busy");
      button.setAttribute("aria-pressed", String(button.dataset.source === source?.kind));
    }
    this.#pictures.toggleAttribute("data-on", source !== undefined);
    byId("stop", HTMLElement).hidden = source === undefined;
    this.#credit.textContent = source?.kind === "demo" ? source.label : "";
    this.#input.srcObject = source?.stream ?? null;
    if (source) void this.#input.play().catch(() => {});
    else this.output.srcObject = null;
  }

  /** @param {MediaStream} stream */
  show(stream) {
    this.output.srcObject = stream;
    void this.output.play().catch(() => {});
  }

  /** @param {{width?: number, height?: number}} size */
  shape({ width = 512, height = 512 }) {
    this.#pictures.style.setProperty("--shape", String(width / height));
  }

  /**
   * @param {Tone} tone
   * @param {string} text
   * @param {string} [detail]
   */
  state(tone, text, detail = "") {
    const place = byId("state", HTMLElement);
    place.dataset.tone = tone;
    place.title = detail;
    const words = byId("state-text", HTMLElement);
    if (words.textContent !== text) words.textContent = text;
    document.title = tone === "idle" ? "dreamframe" : `${text} · dreamframe`;
  }

  /**
   * Shows or removes text over the output.
   *
   * @param {Veil} [veil]
   */
  veil(veil) {
    const place = byId("veil", HTMLElement);
    place.hidden = veil === undefined;
    for (const id of ["save", "share", "full"]) byId(id, HTMLElement).hidden = veil !== undefined;
    if (!veil) {
      this.#veiled = "";
      return;
    }
    const shape = `${veil.tone} ${veil.text} ${veil.action}`;
    // The remaining seconds change often; the element with the focus, which is read aloud, does not.
    if (shape !== this.#veiled) {
      place.dataset.tone = veil.tone;
      place.replaceChildren(...present([
        veil.tone === "busy" && el("span", { class: "spinner", "aria-hidden": "true" }),
        el("p", { class: "veil-text", role: veil.tone === "bad" ? "alert" : undefined }, veil.text),
        el("p", { class: "veil-detail" }),
        veil.action && this.#button(veil.action),
      ]));
      this.#veiled = shape;
    }
    const detail = place.querySelector(".veil-detail");
    if (detail) detail.textContent = veil.detail ?? "";
  }

  /**
   * Downloads a file.
   *
   * @param {Blob} blob
   * @param {string} name
   */
  hand(blob, name) {
    const url = URL.createObjectURL(blob);
    el("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), TOAST);
  }

  /** @param {"retry" | "demo"} action */
  #button(action) {
    const onclick = () => this.#actions[action]();
    return action === "retry"
      ? el("button", { type: "button", onclick }, icon("again"), "Try now")
      : el("button", { type: "button", class: "main-button", id: "start", onclick }, icon("play"), "Play the demo clip");
  }

  /** @param {import("./figures.js").Figures & {latency?: number}} figures */
  figures({ fpsIn, fpsOut, latency, lost }) {
    const put = (/** @type {string} */ id, /** @type {string | undefined} */ text) => {
      const place = byId(id, HTMLElement);
      place.textContent = text ?? "–";
      place.toggleAttribute("data-none", text === undefined);
    };
    put("figure-in", fpsIn?.toFixed(1));
    put("figure-out", fpsOut?.toFixed(1));
    put("figure-latency", latency === undefined ? undefined : `${Math.round(latency)}`);
    put("figure-lost", lost === undefined ? undefined : String(lost));
  }

  /**
   * @param {{active: boolean, width: number, height: number} | undefined} adaptation  The size of the pictures, and whether it
   *   follows the speed of the machine.
   */
  size(adaptation) {
    const place = byId("figure-size", HTMLElement);
    place.textContent = adaptation ? `${adaptation.width}×${adaptation.height}` : "–";
    place.toggleAttribute("data-none", !adaptation);
    this.#adapt.disabled = !adaptation;
    this.#adapt.checked = adaptation?.active ?? false;
  }

  /**
   * Shows an error for a while, above everything else.
   *
   * @param {string} text
   * @param {string} advice
   * @param {Tone} [tone]  Another one for what is no error.
   */
  toast(text, advice, tone = "bad") {
    const place = byId("toast", HTMLElement);
    const close = el("button", { type: "button", class: "small", "aria-label": "Close this message", onclick: () => place.replaceChildren() }, icon("close"));
    place.replaceChildren(el("div", { class: "toast", "data-tone": tone }, el("div", {}, el("p", { class: "toast-text" }, text), el("p", { class: "toast-advice" }, advice)), close));
    clearTimeout(this.#toastTimer);
    this.#toastTimer = setTimeout(() => place.replaceChildren(), TOAST);
  }
}

/**
 * Shows the output on the full screen, and again on the page.
 *
 * @param {HTMLButtonElement} button
 * @param {HTMLVideoElement} video
 */
function fullScreen(button, video) {
  const place = video.closest("figure");
  const toggle = () => {
    if (document.fullscreenElement) void document.exitFullscreen();
    else if (place?.requestFullscreen) void place.requestFullscreen().catch(() => {});
    // Phones of Apple know it for videos alone.
    else Reflect.get(video, "webkitEnterFullscreen")?.call(video);
  };
  button.addEventListener("click", toggle);
  video.addEventListener("dblclick", toggle);
  document.addEventListener("fullscreenchange", () => button.setAttribute("aria-label", document.fullscreenElement ? "Leave the full screen" : "Full screen"));
}
