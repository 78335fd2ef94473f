// What the scripts for a browser share: the flags of Chromium, and the program as a user starts it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

/** A browser without a display, in which pages play media and reach the server on this machine. */
export const FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking",
  "--autoplay-policy=no-user-gesture-required", "--allow-loopback-in-peer-connection", "--disable-background-timer-throttling",
  "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows", "--disable-features=WebRtcHideLocalIpsWithMdns"];

/** The browsers of playwright-core, of which `packages/node_modules` has the package. */
export const chromiumOf = (packages) => createRequire(join(resolve(packages), "node_modules", "x"))("playwright-core").chromium;

/** Starts `program serve`, and returns its address once it listens, and how to stop it by a signal. */
export async function serve(program, args, errors = "inherit") {
  const child = spawn(program, ["serve", "--rtmp", "off", "--json", ...args], { stdio: ["ignore", "pipe", errors] });
  const exit = once(child, "exit");
  const over = exit.then(([code]) => { throw new Error(`the server ended with ${code}`); });
  const [line] = await Promise.race([once(createInterface(child.stdout), "line"), over]);
  over.catch(() => {});
  return { url: JSON.parse(line).url, stop: async (signal) => (child.kill(signal), exit) };
}
