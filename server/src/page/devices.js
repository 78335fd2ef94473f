/** The choice of camera and microphone, and of a phone's front or back camera. */

import { byId, el } from "./dom.js";

/** @typedef {{device: string, facing: "user" | "environment"}} CameraChoice */

const RATE = 30;

/**
 * Returns what to ask of the browser: the device, if one is chosen, and otherwise a camera that faces that way.
 *
 * @param {CameraChoice} choice
 * @returns {MediaTrackConstraints}
 */
export function cameraConstraints({ device, facing }) {
  const common = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: RATE } };
  return device ? { ...common, deviceId: { exact: device } } : { ...common, facingMode: facing };
}

/**
 * Returns the devices of a kind with their labels. Before the user allowed one, browsers hide ids and labels.
 *
 * @param {{kind: string, deviceId: string, label: string}[]} devices
 * @param {"videoinput" | "audioinput"} kind
 */
export function choices(devices, kind) {
  const name = kind === "videoinput" ? "Camera" : "Microphone";
  const own = devices.filter((device) => device.kind === kind && device.deviceId !== "");
  return own.map(({ deviceId, label }, at) => ({ id: deviceId, label: label || `${name} ${at + 1}` }));
}

/** The choices of devices below the sources. */
export class Devices {
  #camera = byId("camera-device", HTMLSelectElement);
  #microphone = byId("microphone-device", HTMLSelectElement);
  #flip = byId("flip", HTMLButtonElement);
  /** @type {"user" | "environment"} */
  #facing = "user";

  /**
   * @param {MediaDevices | undefined} devices
   * @param {{camera: () => void, microphone: (device: string) => void}} changed
   */
  constructor(devices, changed) {
    this.devices = devices;
    if (typeof devices?.getUserMedia !== "function") return;
    byId("devices", HTMLElement).hidden = false;
    this.#camera.addEventListener("change", () => changed.camera());
    this.#microphone.addEventListener("change", () => changed.microphone(this.#microphone.value));
    this.#flip.addEventListener("click", () => {
      this.#facing = this.#facing === "user" ? "environment" : "user";
      this.#camera.value = "";
      this.#label();
      changed.camera();
    });
    devices.addEventListener("devicechange", () => void this.refresh());
    // Computers have no back camera.
    this.#flip.hidden = !matchMedia("(pointer: coarse)").matches;
    this.#label();
    void this.refresh();
  }

  #label() {
    this.#flip.textContent = this.#facing === "user" ? "Back camera" : "Front camera";
  }

  /** @returns {CameraChoice} */
  get camera() {
    return { device: this.#camera.value, facing: this.#facing };
  }

  /** Shows that no microphone is sent. */
  mute() {
    this.#microphone.value = "";
  }

  /** Lists the devices that there are now. */
  async refresh() {
    const all = (await this.devices?.enumerateDevices().catch(() => undefined)) ?? [];
    fill(this.#camera, "Any camera", choices(all, "videoinput"));
    const microphones = choices(all, "audioinput");
    // Without an id, the browser's own choice.
    const unnamed = all.some(({ kind }) => kind === "audioinput") && microphones.length === 0;
    fill(this.#microphone, "No sound", unnamed ? [{ id: "default", label: "Microphone" }] : microphones);
  }
}

/**
 * @param {HTMLSelectElement} select
 * @param {string} none
 * @param {{id: string, label: string}[]} options
 */
function fill(select, none, options) {
  const chosen = select.value;
  select.replaceChildren(el("option", { value: "" }, none), ...options.map(({ id, label }) => el("option", { value: id }, label)));
  if (options.some(({ id }) => id === chosen)) select.value = chosen;
}

/**
 * Opens a microphone.
 *
 * @param {string} device
 */
export function microphone(device) {
  const audio = device === "default" ? true : { deviceId: { exact: device } };
  return navigator.mediaDevices.getUserMedia({ audio, video: false });
}
