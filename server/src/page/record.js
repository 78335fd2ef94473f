/** A button that records while it is held, from the shortest to the longest recording of the server. */

/** Seconds. */
export const SHORTEST = 3;
export const LONGEST = 10;
/** The seconds of a click that does not hold, as by a program for accessibility. */
const USUAL = 5;

/**
 * Returns the seconds of a recording for the time that the button was held.
 *
 * @param {number} ms
 */
export function seconds(ms) {
  return Math.min(LONGEST, Math.max(SHORTEST, Math.ceil(ms / 1000)));
}

/**
 * Connects the button.
 *
 * @param {HTMLButtonElement} button
 * @param {(seconds: number) => void} record  Called with the seconds of the output up to now.
 */
export function holdable(button, record) {
  const words = button.querySelector("span");
  const usual = words?.textContent ?? "";
  let since = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let timer;
  let wasHeld = false;
  const show = (/** @type {string} */ text) => words && (words.textContent = text);
  const finish = () => {
    if (timer === undefined) return;
    clearInterval(timer);
    timer = undefined;
    button.removeAttribute("data-held");
    show(usual);
    record(seconds(performance.now() - since));
  };
  const begin = () => {
    if (timer !== undefined) return;
    [since, wasHeld] = [performance.now(), true];
    button.setAttribute("data-held", "");
    show(`${SHORTEST} s`);
    timer = setInterval(() => {
      const held = performance.now() - since;
      show(`${seconds(held)} s`);
      if (held >= LONGEST * 1000) finish();
    }, 200);
  };
  const isPress = (/** @type {KeyboardEvent} */ { key }) => key === " " || key === "Enter";
  button.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    button.setPointerCapture(event.pointerId);
    begin();
  });
  for (const name of ["pointerup", "pointercancel", "blur"]) button.addEventListener(name, finish);
  button.addEventListener("keydown", (event) => {
    if (!isPress(event)) return;
    event.preventDefault();
    begin();
  });
  button.addEventListener("keyup", (event) => isPress(event) && finish());
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  button.addEventListener("click", () => {
    if (!wasHeld) record(USUAL);
    wasHeld = false;
  });
}
