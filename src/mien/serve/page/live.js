// The Live tab: camera, boxes, bars, and the last half minute.

import { describe } from "./emotions.js";
import { contain, drawFaces, faceAt } from "./draw.js";
import { Reading } from "./reading.js";
import { download, downloadCanvas, stamped, toCsv } from "./save.js";
import { PrivateStream, RemoteStream } from "./streams.js";
import { RollingTimeline } from "./timeline.js";

const MAX_RECORDS = 100_000; // kept for the CSV: half an hour at 50 per second, an hour at 25
const NO_CAMERA = {
  NotAllowedError: ["Mien may not use the camera", "Allow the camera for this page in the browser's address bar, then try again."],
  NotFoundError: ["No camera found", "Connect one, then try again. Photos and videos work without."],
  NotReadableError: ["The camera is in use", "Another program holds it. Close that program, then try again."],
  OverconstrainedError: ["That camera is not here any more", "Choose another one, then try again."],
};
const $ = (id) => document.getElementById(`live-${id}`);

export class Live {
  #stream = null; // of the camera
  #analysis = null; // RemoteStream or PrivateStream
  #result = null;
  #records = []; // of the session: from the first start, or the first after "Turn off"
  #over = true; // there is no session; the next start begins one
  #beganAt = null; // when its first connection began, in ms of performance.now()
  #last = { timeS: 0, frame: -1, id: 0 }; // the largest of the session
  #offset = { timeS: 0, frame: 0, id: 0 }; // added to the values of the connection
  #times = []; // of the last results, to compute the frame rate
  #paused = false;

  /** @param {object} page functions that all tabs share: engine(), emptyEmotions(), setCamera(on), notify(text), askForKey(). */
  constructor(page) {
    this.page = page;
    this.video = $("video");
    this.overlay = $("overlay");
    this.reading = new Reading($("reading"), "Nobody in the picture");
    this.timeline = new RollingTimeline($("timeline"));
    $("start").addEventListener("click", () => this.start());
    $("stop").addEventListener("click", () => this.stop());
    $("pause").addEventListener("click", () => this.pause(!this.#paused));
    $("snapshot").addEventListener("click", () => this.#snapshot());
    $("csv").addEventListener("click", () => this.#saveCsv());
    $("camera").addEventListener("change", () => this.#stream && this.start());
    this.overlay.addEventListener("click", (event) => this.#pick(event));
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.#listCameras());
    this.reading.show(null, "Nothing to read yet");
    requestAnimationFrame(() => this.#tick());
  }

  setLabels(labels) {
    this.reading.setLabels(labels);
    this.reading.show(null, "Nothing to read yet");
  }

  /** Redraw when the tab becomes visible or the colours change. */
  refresh() {
    this.timeline.draw(performance.now() / 1000, this.shown);
  }

  async start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      return this.#say("The camera needs a safe address", "Browsers give a page the camera at localhost or over https only.");
    }
    const deviceId = $("camera").value;
    this.#release();
    $("start").disabled = true;
    try {
      const wanted = { width: { ideal: 1280 }, height: { ideal: 720 }, ...(deviceId ? { deviceId: { exact: deviceId } } : { facingMode: "user" }) };
      this.#stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    } catch (error) {
      const [title, words] = NO_CAMERA[error.name] ?? ["The camera did not start", "Unplug it and plug it in again, or choose another one."];
      return this.#say(title, words);
    } finally {
      $("start").disabled = false;
    }
    for (const track of this.#stream.getTracks()) track.addEventListener("ended", () => this.#cameraLost());
    this.video.srcObject = this.#stream;
    await this.video.play().catch(() => {});
    $("stage").style.aspectRatio = `${this.video.videoWidth || 4} / ${this.video.videoHeight || 3}`;
    $("stage").dataset.state = "on";
    $("empty").hidden = true;
    if (this.#over) this.#newSession();
    this.#enable(true);
    this.pause(false);
    this.page.setCamera(true);
    this.connect();
    await this.#listCameras();
    $("pause").focus({ preventScroll: true });
  }

  stop() {
    this.#over = true;
    this.#say("Your camera is off", "Mien looks only when you let it. Frames are looked at and forgotten, never stored.");
    $("start").focus();
  }

  pause(paused) {
    this.#paused = paused;
    $("pause").textContent = paused ? "Go on" : "Pause";
    $("pause").setAttribute("aria-pressed", String(paused));
    $("paused").hidden = !paused;
    if (!this.#stream) return;
    if (paused) this.video.pause();
    else this.video.play().catch(() => {});
  }

  /** Start the analysis, in the service or in the browser as chosen. */
  connect() {
    this.#analysis?.close();
    this.#analysis = null;
    if (!this.#stream) return;
    this.#forgetResult("Looking…");
    const handlers = {
      onBegin: () => this.#begin(),
      onResult: (result, delay) => this.#take(result, delay),
      onGone: () => {
        this.#forgetResult("Waiting for Mien");
        this.page.notify("Mien does not answer. It will go on as soon as it is back.");
      },
      onBack: () => this.page.notify(""),
      onRefused: (code, words) => (code === "key" ? this.page.askForKey() : this.page.notify(words)),
    };
    const engine = this.page.engine();
    this.#analysis = engine ? new PrivateStream(engine, handlers) : new RemoteStream(handlers);
  }

  #newSession() {
    this.#over = false;
    this.#records = [];
    this.#beganAt = null;
    this.#last = { timeS: 0, frame: -1, id: 0 };
  }

  /** A connection begins and counts from zero. Its people get new ids, and its times come after those of the connection before. */
  #begin() {
    const now = performance.now();
    this.#beganAt ??= now;
    const { timeS, frame, id } = this.#last;
    this.#offset = { timeS: Math.max(timeS, (now - this.#beganAt) / 1000), frame: frame + 1, id };
    this.timeline.clear();
    this.reading.choose(null);
  }

  /** The result with time, frame number and ids of the session instead of the connection. */
  #inSession(result) {
    const { timeS, frame, id } = this.#offset;
    const faces = result.faces.map((face) => ({ ...face, track_id: face.track_id === null ? null : face.track_id + id }));
    const placed = { ...result, faces, source: "camera", time_s: result.time_s + timeS, frame_index: result.frame_index + frame };
    this.#last = { timeS: placed.time_s, frame: placed.frame_index, id: Math.max(this.#last.id, ...faces.map((face) => face.track_id ?? 0)) };
    return placed;
  }

  /** Keep a result for the CSV, and say when no more results fit. */
  #keep(result) {
    if (this.#records.length === MAX_RECORDS) return;
    this.#records.push(result);
    if (this.#records.length < MAX_RECORDS) return;
    const most = MAX_RECORDS.toLocaleString("en");
    this.page.notify(`The session has ${most} results, as many as its CSV holds. Save it, then turn the camera off and on to begin another.`);
  }

  #take(answer, delay) {
    if (!this.#stream || this.#paused) return;
    const now = performance.now();
    const result = this.#inSession(answer);
    this.#result = result;
    this.#keep(result);
    this.#times = [...this.#times.filter((time) => now - time < 3000), now];
    result.faces.forEach((face) => face.track_id !== null && this.timeline.add(now / 1000, face.track_id, face));
    const shown = this.reading.show(result);
    this.reading.speak(describe(result.faces));
    $("who").textContent = shown && result.faces.length > 1 ? `Person ${shown.number}` : "";
    this.shown = shown?.number ?? this.shown;
    const span = (now - this.#times[0]) / 1000;
    $("pace").textContent = span > 0.5 ? `${((this.#times.length - 1) / span).toFixed(0)} a second` : "–";
    $("delay").textContent = `${Math.round(delay)} ms`;
    $("count").textContent = String(result.faces.length);
    $("csv").disabled = false;
    this.#drawOverlay();
  }

  #tick() {
    if (this.#stream && !this.#paused && !document.hidden) {
      this.#analysis?.send(this.video);
      this.refresh();
    }
    requestAnimationFrame(() => this.#tick());
  }

  /** Remove the boxes and bars; they are outdated. */
  #forgetResult(words) {
    this.#result = null;
    this.#times = [];
    this.#drawOverlay();
    this.reading.show(null, words);
    for (const name of ["pace", "delay", "count"]) $(name).textContent = "–";
  }

  #drawOverlay() {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [this.overlay.clientWidth * ratio, this.overlay.clientHeight * ratio];
    if (this.overlay.width !== width || this.overlay.height !== height) Object.assign(this.overlay, { width, height });
    const context = this.overlay.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (!this.#result) return;
    drawFaces(context, this.#result, { ...contain(this.#result, { width, height }), unit: ratio, mirrored: true, chosen: this.shown });
  }

  #pick(event) {
    if (!this.#result?.faces.length) return;
    const { scale, x, y } = contain(this.#result, { width: this.overlay.clientWidth, height: this.overlay.clientHeight });
    const index = faceAt(this.#result, this.#result.width - (event.offsetX - x) / scale, (event.offsetY - y) / scale);
    if (index >= 0) this.reading.choose(this.#result.faces[index].track_id ?? index + 1);
  }

  #cameraLost() {
    this.#say("The camera is gone", "It was unplugged, or taken by another program. Connect it, then go on.");
    $("start").textContent = "Go on";
  }

  /** Release the camera and show a title and a sentence instead. */
  #say(title, words) {
    this.#release();
    $("stage").dataset.state = "off";
    $("empty").hidden = false;
    $("title").textContent = title;
    $("words").textContent = words;
    $("start").textContent = "Turn the camera on";
    this.#enable(false);
    this.pause(false);
    this.reading.choose(null);
    this.#forgetResult("Nothing to read yet");
    this.timeline.clear();
    this.refresh();
  }

  #release() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = null;
    this.video.srcObject = null;
    this.#analysis?.close();
    this.#analysis = null;
    this.#result = null;
    this.page.setCamera(false);
  }

  #enable(on) {
    for (const name of ["pause", "snapshot", "stop"]) $(name).disabled = !on;
    $("csv").disabled = !this.#records.length;
  }

  async #listCameras() {
    const devices = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput" && device.deviceId);
    const current = this.#stream?.getVideoTracks()[0]?.getSettings().deviceId ?? $("camera").value;
    const options = devices.map((device, i) => new Option(device.label || `Camera ${i + 1}`, device.deviceId, false, device.deviceId === current));
    $("camera").replaceChildren(...(options.length ? options : [new Option("Default", "")]));
  }

  async #snapshot() {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: this.video.videoWidth, height: this.video.videoHeight });
    const context = canvas.getContext("2d");
    context.drawImage(this.video, 0, 0);
    if (this.#result) drawFaces(context, this.#result, { ...contain(this.#result, canvas), unit: Math.max(1, canvas.width / 900) });
    await downloadCanvas(canvas, stamped("mien-snapshot", "png"));
  }

  #saveCsv() {
    const labels = Object.keys(this.#records.find((record) => record.faces.length)?.faces[0].emotions ?? this.page.emptyEmotions());
    download(toCsv(this.#records, labels), stamped("mien-session", "csv"), "text/csv");
  }
}
