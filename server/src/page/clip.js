/** The page of a clip: what needs a script, which is passing its link on. The server writes the rest. */

import { byId } from "./dom.js";
import { canShare, copyLink, pass } from "./share.js";

const { origin, pathname } = location;
const url = origin + pathname;
const copy = byId("copy", HTMLButtonElement);
const said = byId("said", HTMLElement);

copy.hidden = false;
copy.addEventListener("click", async () => {
  said.textContent = (await copyLink(url)) ? "The link is copied." : `The browser does not allow copying here: ${url}`;
});

const share = byId("pass", HTMLButtonElement);
share.hidden = !canShare();
share.addEventListener("click", () => pass(url));
