/** Links to clips: a dialog that shows the link of a new clip, and ways to pass it on. */

import { el, freshId } from "./dom.js";

const LOCAL = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

/**
 * Returns the address of a clip for other people. The page's own origin is the one that works for its user, behind a proxy
 * that the server does not know, too; the server's own address is better only if the page was opened on the server's machine.
 *
 * @param {string} url   The address from the server.
 * @param {string} here  The same path at the page's origin.
 */
export function addressOf(url, here) {
  return LOCAL.test(new URL(here).hostname) ? url : here;
}

/**
 * Copies a link. Without https a page may not copy.
 *
 * @param {string} url
 * @returns {Promise<boolean>}  Whether it was copied.
 */
export async function copyLink(url) {
  try {
    await navigator.clipboard.writeText(url);
    return true;
  } catch {
    return false;
  }
}

/** Whether the browser has a dialog of its own for passing links on. */
export const canShare = () => "share" in navigator;

/**
 * Opens the browser's dialog for passing a link on.
 *
 * @param {string} url
 */
export function pass(url) {
  // Rejected if the user closes the dialog.
  navigator.share({ title: "A clip made with dreamframe", url }).catch(() => {});
}

/**
 * Shows the link of a new clip.
 *
 * @param {string} url
 * @param {() => Promise<void>} remove  Deletes the clip; it reports errors itself.
 */
export function showLink(url, remove) {
  document.getElementById("share-dialog")?.remove();
  const title = freshId("share-title");
  const field = el("input", { type: "url", id: "share-link", readOnly: true, value: url, "aria-label": "Link to the clip" });
  const said = el("p", { class: "note", role: "status" });
  const copy = async () => {
    const copied = await copyLink(url);
    if (!copied) field.select();
    said.textContent = copied ? "The link is copied." : "The browser does not allow copying here: copy the selected link by hand.";
  };
  const button = (/** @type {string} */ text, /** @type {() => void} */ onclick) => el("button", { type: "button", onclick }, text);
  const dialog = el("dialog", { id: "share-dialog", "aria-labelledby": title },
    el("form", { method: "dialog" },
      el("h2", { id: title }, "Link to the clip"),
      el("p", {}, "Everyone with this link can watch the clip, and read its prompt and settings."),
      el("div", { class: "add-line" }, field, el("button", { type: "button", class: "main-button", onclick: () => void copy() }, "Copy")),
      said,
      el("div", { class: "share-actions" },
        canShare() && button("Share", () => pass(url)),
        el("a", { class: "button", href: url, target: "_blank", rel: "noopener" }, "Open"),
        button("Delete", () => void remove().then(() => dialog.close())),
        el("button", { type: "submit", value: "" }, "Close"))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  field.select();
}
