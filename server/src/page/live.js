/** Runs while a source is on: sends it, shows the output, measures, and reconnects. */

import { cameraConstraints, Devices, microphone } from "./devices.js";
import { Figuring } from "./figuring.js";
import { Failures, stateInWords } from "./figures.js";
import { Link, preferH264 } from "./link.js";
import { ofError, ofSource } from "./messages.js";
import { addressOf, showLink } from "./share.js";
import * as sources from "./sources.js";

/** @typedef {import("./link.js").LinkState} LinkState */
/** @typedef {import("./sources.js").Source} Source */
/** @typedef {import("./types.js").Problem} Problem */

const POLL = 1000;

export class Live {
  /** @type {Source | undefined} */
  #source;
  #turn = 0;
  #up;
  #down;
  #figuring;
  /** @type {any} */
  #status;
  #failures = new Failures();
  /** The microphone, if one is sent. @type {MediaStream | undefined} */
  #sound;
  #devices;
  #renewing = false;

  /**
   * @param {{api: import("./api.js").Api, session: import("./session.js").Session, stage: import("./stage.js").Stage, askKey: () => Promise<boolean>}} parts
   */
  constructor({ api, session, stage, askKey }) {
    this.api = api;
    this.session = session;
    this.stage = stage;
    this.askKey = askKey;
    const common = { resolve: (/** @type {string} */ url) => api.here(url), headers: () => api.headers };
    this.#up = new Link({
      ...common,
      endpoint: () => api.here(session.stream?.whip_url ?? ""),
      prepare: (peer) => this.#send(peer),
      changed: (state) => this.#moved(state),
    });
    this.#down = new Link({
      ...common,
      endpoint: () => new URL(`webrtc/${session.stream?.output_playback_id ?? ""}`, api.base).href,
      prepare: (peer) => this.#receive(peer),
      changed: (state) => this.#moved(state),
    });
    this.#devices = new Devices(navigator.mediaDevices, {
      camera: () => this.#source?.kind === "camera" && void this.#choose("camera"),
      microphone: (device) => void this.#hear(device),
    });
    this.#figuring = new Figuring(stage.output, () => this.#source && this.#report());
  }

  /**
   * Connects the buttons; a source named in the page's address starts automatically.
   *
   * @param {string | null} named
   */
  begin(named) {
    this.stage.offer(sources.available(navigator.mediaDevices, isSecureContext), {
      choose: (kind, chosen) => void this.#choose(kind, chosen),
      stop: () => this.#stop(),
      retry: () => this.#retry(),
      save: (seconds) => void this.#save(seconds),
      share: (seconds) => void this.#share(seconds),
      adapt: (on) => void this.#adapt(on),
    });
    this.#idle();
    setInterval(() => void this.#look(), POLL);
    addEventListener("pagehide", () => {
      this.#up.abandon();
      this.#down.abandon();
    });
    addEventListener("pageshow", (event) => event.persisted && this.#source && this.#retry());
    addEventListener("online", () => this.#source && this.#retry());
    if (named === "demo") void this.#choose("demo");
  }

  /**
   * @param {Source["kind"]} kind
   * @param {File} [chosen]
   */
  async #choose(kind, chosen) {
    const turn = ++this.#turn;
    const size = () => ({ width: this.session.params.width, height: this.session.params.height });
    this.stage.busy(kind);
    try {
      const open = {
        demo: () => sources.demo(new URL("page/clip.mp4", this.api.base).href, size),
        camera: () => {
          // Phones open one camera at a time.
          if (this.#source?.kind === "camera") this.#source.stop();
          return sources.camera(cameraConstraints(this.#devices.camera));
        },
        screen: sources.screen,
        file: () => sources.file(/** @type {File} */ (chosen), size),
      };
      const source = await open[kind]();
      if (turn !== this.#turn) return source.stop();
      const before = this.#source;
      this.#source = source;
      // Labels of devices are there once the user has allowed one.
      if (kind === "camera") void this.#devices.refresh();
      source.onended(() => this.#source === source && this.#stop());
      this.stage.source(source);
      if (!before || !(await this.#exchange(source))) await this.#connect();
      before?.stop();
    } catch (error) {
      if (turn !== this.#turn) return;
      const problem = kind === "demo" ? ofError(error) : ofSource(error, kind);
      this.stage.toast(problem.text, problem.advice);
      // The camera before it was stopped.
      if (this.#source && !this.#source.stream.active) return this.#stop();
      this.stage.source(this.#source);
    }
  }

  /**
   * Sends the sound of a microphone, or none.
   *
   * @param {string} device
   */
  async #hear(device) {
    const before = this.#sound;
    this.#sound = undefined;
    try {
      if (device) this.#sound = await microphone(device);
    } catch (error) {
      this.#devices.mute();
      const { text, advice } = ofSource(error, "microphone");
      this.stage.toast(text, advice);
    }
    before?.getTracks().forEach((track) => track.stop());
    void this.#devices.refresh();
    if (!this.#source) return;
    const [track = null] = this.#sound?.getAudioTracks() ?? [];
    const sender = this.#up.peer?.getTransceivers().find(({ receiver }) => receiver.track.kind === "audio")?.sender;
    if (sender && this.#up.state.name === "connected") await sender.replaceTrack(track);
    // A connection without sound has no place for it.
    else if (track) this.#up.start();
  }

  /**
   * Sends another source over the existing connection.
   *
   * @param {Source} source
   */
  async #exchange(source) {
    const sender = this.#up.peer?.getSenders().find(({ track }) => track?.kind === "video");
    const [track] = source.stream.getVideoTracks();
    if (!sender || !track || this.#up.state.name !== "connected") return false;
    return sender.replaceTrack(track).then(() => true, () => false);
  }

  async #connect() {
    this.stage.state("busy", "Connecting");
    this.stage.veil({ text: "Connecting", tone: "busy" });
    try {
      await this.session.ready();
      if (!this.#source) return;
      this.#figuring.reset();
      this.#up.start();
      this.#down.start();
    } catch (error) {
      await this.#trouble(ofError(error));
    }
  }

  /**
   * Reports that the stream could not be created.
   *
   * @param {Problem} problem
   */
  async #trouble(problem) {
    if (!this.#source) return;
    this.stage.state("bad", problem.text);
    this.stage.veil({ text: problem.text, detail: problem.advice, tone: "bad", action: "retry" });
    if (problem.kind === "refused") return;
    if (problem.kind === "key" && !(await this.askKey())) return;
    if (problem.kind !== "key") await new Promise((resolve) => setTimeout(resolve, problem.wait ?? 3000));
    if (this.#source) await this.#connect();
  }

  #stop() {
    this.#turn += 1;
    this.#source?.stop();
    this.#source = undefined;
    this.#sound?.getTracks().forEach((track) => track.stop());
    this.#sound = undefined;
    this.#devices.mute();
    this.#up.stop();
    this.#down.stop();
    this.stage.source(undefined);
    this.#idle();
  }

  #idle() {
    this.#status = undefined;
    this.#figuring.reset();
    this.stage.figures({});
    this.stage.size(undefined);
    this.stage.state("idle", "Ready");
    this.stage.veil({ text: "The restyled picture appears here", detail: "Play the demo clip, or choose a source below.", tone: "idle", action: "demo" });
  }

  #retry() {
    if (this.session.stream) {
      this.session.flush();
      this.#up.start();
      this.#down.start();
    } else void this.#connect();
  }

  /**
   * Lets size and steps follow the speed of the machine, or stay as they are set.
   *
   * @param {boolean} on
   */
  async #adapt(on) {
    try {
      await this.api.adapt(this.session.stream?.id ?? "", on);
    } catch (error) {
      const { text, advice } = ofError(error);
      this.stage.toast(text, advice);
    }
  }

  /**
   * Downloads the last seconds of the output.
   *
   * @param {number} seconds
   */
  async #save(seconds) {
    try {
      const clip = await this.api.recording(this.session.stream?.id ?? "", seconds);
      this.stage.hand(clip, `dreamframe-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.mp4`);
    } catch (error) {
      this.#missed(error, "There is nothing to save yet.");
    }
  }

  /**
   * Makes a clip of the last seconds of the output, and shows its link.
   *
   * @param {number} seconds
   */
  async #share(seconds) {
    try {
      const { id, url } = await this.api.clip(this.session.stream?.id ?? "", seconds);
      const remove = () => this.api.removeClip(id).then(() => this.stage.toast("The clip is deleted.", "Its link no longer works.", "good"), (error) => this.#missed(error, "The clip was deleted before."));
      showLink(addressOf(url, this.api.here(url)), remove);
    } catch (error) {
      this.#missed(error, "There is nothing to share yet.");
    }
  }

  /**
   * Reports an error about the last seconds.
   *
   * @param {unknown} error
   * @param {string} missing  The text if there is nothing recorded.
   */
  #missed(error, missing) {
    const { kind, text, advice } = ofError(error);
    if (kind === "missing") this.stage.toast(missing, "Try again after some seconds of output.");
    else this.stage.toast(text, advice);
  }

  /** @param {RTCPeerConnection} peer */
  #send(peer) {
    const [track] = this.#source?.stream.getVideoTracks() ?? [];
    if (!track || !this.#source) return;
    const transceiver = peer.addTransceiver(track, { direction: "sendonly", streams: [this.#source.stream], sendEncodings: [{ maxBitrate: 2_500_000, maxFramerate: 30 }] });
    preferH264(transceiver, RTCRtpSender.getCapabilities("video"));
    const [sound] = this.#sound?.getAudioTracks() ?? [];
    if (sound) peer.addTransceiver(sound, { direction: "sendonly", streams: [this.#source.stream] });
  }

  /** @param {RTCPeerConnection} peer */
  #receive(peer) {
    const transceiver = peer.addTransceiver("video", { direction: "recvonly" });
    preferH264(transceiver, RTCRtpReceiver.getCapabilities("video"));
    peer.addEventListener("track", ({ track, receiver }) => {
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
      this.stage.show(new MediaStream([track]));
    });
  }

  /** @param {LinkState} state */
  #moved({ name, problem }) {
    if (name === "connected") this.session.flush();
    if (name === "waiting" && problem?.kind === "missing") void this.#renew();
    if (name === "waiting" && problem?.kind === "key") void this.askKey().then((entered) => entered && this.#source && this.#retry());
    if (this.#source) this.#report();
  }

  /** Creates a new stream with the same parameters if the server no longer has the old one. */
  async #renew() {
    if (this.#renewing) return;
    this.#renewing = true;
    this.#up.stop();
    this.#down.stop();
    this.session.forget();
    this.#renewing = false;
    await this.#connect();
  }

  /** Measures the connections, and requests the status from the server. */
  async #look() {
    if (!this.#source || document.hidden) return;
    const { stream } = this.session;
    if (stream && this.#up.state.name === "connected") {
      this.#status = await this.api.status(stream.id).catch(() => undefined);
      const failure = this.#failures.next(this.#status);
      if (failure) {
        this.stage.toast(failure, "Settings that failed are taken back.");
        await this.session.refresh();
      }
    }
    if (!this.#source) return;
    this.#limit(this.#status?.input_wanted);
    this.stage.size(this.#status?.adaptation);
    this.stage.figures(await this.#figuring.take(this.#up.peer, this.#down.peer, this.#status));
    this.#report();
  }

  /**
   * Sends no more than the server uses: what it skips only takes processor time.
   *
   * @param {import("./sources.js").Wanted | undefined} wanted
   */
  #limit(wanted) {
    if (!wanted || !this.#source) return;
    this.#source.want(wanted);
    const sender = this.#up.peer?.getSenders().find(({ track }) => track?.kind === "video");
    const parameters = sender?.getParameters();
    const [encoding] = parameters?.encodings ?? [];
    if (!sender || !parameters || !encoding) return;
    const { width, height } = sender.track?.getSettings() ?? {};
    const scale = width && height ? Math.max(1, Math.min(width / wanted.width, height / wanted.height)) : 1;
    if (encoding.maxFramerate === wanted.frame_rate && encoding.scaleResolutionDownBy === scale) return;
    Object.assign(encoding, { maxFramerate: wanted.frame_rate, scaleResolutionDownBy: scale });
    // A connection that is closing refuses; the next one is limited again.
    sender.setParameters(parameters).catch(() => {});
  }

  /** Displays the status as text. */
  #report() {
    const waiting = [this.#up.state, this.#down.state].find(({ name }) => name === "waiting");
    if (waiting?.problem) {
      const seconds = Math.max(0, Math.ceil(((waiting.until ?? 0) - Date.now()) / 1000));
      this.stage.state("bad", waiting.problem.kind === "network" ? "Reconnecting" : "Waiting");
      const detail = `${waiting.problem.advice} Next attempt ${seconds > 0 ? `in ${seconds} s` : "now"}.`;
      return this.stage.veil({ text: waiting.problem.text, detail, tone: "bad", action: "retry" });
    }
    if (this.#up.state.name !== "connected" || this.#down.state.name !== "connected") {
      this.stage.state("busy", "Connecting");
      return this.stage.veil({ text: "Connecting", tone: "busy" });
    }
    const flows = this.#figuring.flows;
    const said = stateInWords(this.#status);
    // The local observation is newer than the server's status.
    const { tone, text, detail } = flows && said.text === "Connecting" ? stateInWords({ state: "ONLINE" }) : said;
    this.stage.state(tone, text, detail);
    this.stage.veil(flows ? undefined : { text, detail: detail || "The first pictures follow in a moment.", tone });
  }
}
