/** The page: connects the source, the stream, the two connections and the controls. */

import { addresses } from "./addresses.js";
import { Api } from "./api.js";
import { Backoff } from "./backoff.js";
import { byId, el } from "./dom.js";
import { Live } from "./live.js";
import { mapping } from "./mapping.js";
import { ofError, refusal } from "./messages.js";
import { machine } from "./models.js";
import { panel } from "./panel.js";
import { presets } from "./presets.js";
import { prompts } from "./prompts.js";
import { Session } from "./session.js";
import { Stage } from "./stage.js";

/** @typedef {import("./types.js").Catalogue} Catalogue */
/** @typedef {import("./types.js").Params} Params */
/** @typedef {import("./types.js").Problem} Problem */

const api = new Api(new URL(".", location.href).href);
const stage = new Stage();

/**
 * Loads the data for the controls, retrying until it succeeds.
 *
 * @returns {Promise<Catalogue>}
 */
async function catalogue() {
  const backoff = new Backoff();
  for (;;) {
    try {
      return await api.catalogue();
    } catch (error) {
      const problem = ofError(error);
      stage.state("bad", problem.text);
      stage.veil({ text: problem.text, detail: problem.advice, tone: "bad" });
      if (problem.kind === "key" && (await askKey())) continue;
      await new Promise((resolve) => setTimeout(resolve, backoff.next(problem.wait)));
    }
  }
}

/**
 * Continues with the previous stream; if that fails, a new one is created when it is needed.
 *
 * @param {Session} session
 */
async function resume(session) {
  try {
    await session.resume();
  } catch (error) {
    if (ofError(error).kind === "key" && (await askKey())) await session.resume().catch(() => {});
  }
}

/** @type {Promise<boolean> | undefined} */
let asking;

/**
 * Asks for the API key, once even if several requests were rejected.
 *
 * @returns {Promise<boolean>}  Whether one was entered.
 */
function askKey() {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog", HTMLDialogElement);
    const input = byId("key", HTMLInputElement);
    if (api.hasKey) byId("key-words", HTMLElement).textContent = "The server did not accept this key. Enter the one that it was started with.";
    dialog.showModal();
    dialog.addEventListener("close", () => {
      const key = dialog.returnValue === "enter" ? input.value.trim() : "";
      if (key) api.setKey(key);
      input.form?.reset();
      dialog.returnValue = "";
      asking = undefined;
      resolve(key !== "");
    }, { once: true });
  });
  return asking;
}

async function main() {
  const known = await catalogue();
  /** @type {() => void} */
  let draw = () => {};
  const session = new Session(api, known, {
    changed: () => draw(),
    failed: (problem) => {
      if (problem.kind === "key") void askKey().then((entered) => entered && session.flush());
      // A server that does not respond is reported by the connections.
      else if (problem.kind !== "network") stage.toast(refusal(problem), problem.advice);
    },
    remarked: (remarks) => stage.toast(remarks.join(" · "), "Remarks of the server on the settings."),
  });
  await resume(session);

  const change = (/** @type {Params} */ changes) => session.change(changes);
  const prompt = prompts(known, change, (seconds) => (session.fade = seconds));
  const controls = panel(known, change, () => session.params);
  byId("prompt-place", HTMLElement).replaceWith(prompt.element);
  const elsewhere = addresses(api.base);
  const own = presets(known, { params: () => session.params, change, say: (text, advice, tone) => stage.toast(text, advice, tone) });
  controls.element.append(own.element, machine(() => api.recommendations()).element, mapping().element, elsewhere.element);
  byId("controls-place", HTMLElement).replaceWith(controls.element);
  draw = () => {
    stage.shape(session.params);
    prompt.show(session.params);
    controls.show(session.params);
    elsewhere.show(session.stream);
  };
  draw();
  helpLine();

  openLink(own.take);

  const live = new Live({ api, session, stage, askKey });
  live.begin(new URLSearchParams(location.search).get("source"));
}

/**
 * Asks about the preset in the page's address, also one that is opened later.
 *
 * @param {(text: string) => boolean} take
 */
function openLink(take) {
  const open = () => {
    // Removed, so that a reload keeps what the user has changed since.
    if (take(location.hash)) history.replaceState(null, "", location.pathname + location.search);
  };
  addEventListener("hashchange", open);
  open();
}

/** Shows the help of the control with the focus or the pointer, in one place that is always visible. */
function helpLine() {
  const line = byId("help", HTMLElement);
  const show = (/** @type {Event} */ event) => {
    const row = event.target instanceof Element ? event.target.closest("[data-help]") : null;
    const text = row?.getAttribute("data-help") ?? "";
    if (line.textContent !== text) line.replaceChildren(...(text ? [el("span", {}, text)] : []));
  };
  for (const event of ["focusin", "pointerover"]) document.addEventListener(event, show);
}

void main();
