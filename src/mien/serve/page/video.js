// The Video tab: upload, progress, and the marked video with a timeline that follows the player and can seek.

import { authorization, call, refusalWords, sentence, ServiceError } from "./api.js";
import { colourOf } from "./emotions.js";
import { acceptDrops } from "./photo.js";
import { element, Reading } from "./reading.js";
import { download, toCsv } from "./save.js";
import { clock, VideoTimeline } from "./timeline.js";

const $ = (id) => document.getElementById(`video-${id}`);
const ASK_EVERY_MS = 500;
const PATIENCE = 30; // requests without an answer before the service counts as gone
const SEEK_S = 1;
const WELCOME = $("text").textContent;

export class Video {
  #job = null; // { id, name, upload, records }
  #labels = [];

  constructor(page) {
    this.page = page;
    this.player = $("player");
    this.reading = new Reading($("reading"), "Nobody in the picture");
    this.reading.onChoose = () => this.#follow();
    this.timeline = new VideoTimeline($("timeline"));
    for (const name of ["choose", "more"]) $(name).addEventListener("click", () => $("input").click());
    $("input").addEventListener("change", () => {
      if ($("input").files.length) this.open($("input").files[0]);
      $("input").value = "";
    });
    acceptDrops($("stage"), ([file]) => file && this.open(file));
    $("cancel").addEventListener("click", () => this.#forget());
    $("forget").addEventListener("click", () => this.#forget());
    $("csv").addEventListener("click", () => download(toCsv(this.#job.records, this.#labels), `${stem(this.#job.name)}-mien.csv`, "text/csv"));
    for (const name of ["timeupdate", "seeked", "loadedmetadata"]) this.player.addEventListener(name, () => this.#follow());
    $("timeline").addEventListener("pointerdown", (event) => this.#seek(this.timeline.timeAt(event.offsetX)));
    $("timeline").addEventListener("pointermove", (event) => event.buttons && this.#seek(this.timeline.timeAt(event.offsetX)));
    $("timeline").addEventListener("keydown", (event) => this.#seekByKey(event));
    addEventListener("pagehide", () => this.#job?.id && fetch(`/v1/video/${this.#job.id}`, { method: "DELETE", headers: authorization(), keepalive: true }));
    new ResizeObserver(() => this.#draw()).observe($("timeline"));
    this.#animate();
  }

  setLabels(labels) {
    this.#labels = labels;
    this.reading.setLabels(labels);
    this.reading.show(null, "Nothing to read yet");
    $("legend").replaceChildren(...labels.map((label) => {
      const item = element("li");
      const dot = element("i");
      dot.style.setProperty("--colour", colourOf(label, labels));
      item.append(dot, label);
      return item;
    }));
  }

  /** Send a video and follow its analysis to the end. */
  async open(file) {
    await this.#forget();
    if (this.page.engine()) {
      return this.#empty("Videos need the service", "In this browser only, Mien does photos and the camera. Switch that off to analyse a video on this computer's service.");
    }
    const job = { name: file.name || "video", records: [] };
    this.#job = job;
    this.#working(`Sending ${job.name}`);
    try {
      Object.assign(job, await this.#send(file, job));
      const done = await this.#wait(job);
      if (done && job === this.#job) await this.#show(job);
    } catch (error) {
      if (job !== this.#job) return;
      if (error.code === "key") this.page.askForKey();
      this.#empty("That did not work", error.message);
    }
  }

  /** Cancel a video that is being sent or analysed; a finished one stays. */
  async callBack() {
    if (this.#job && !this.#job.records.length) await this.#forget();
  }

  /** Uses XMLHttpRequest, because fetch() reports no upload progress. */
  #send(file, job) {
    const form = new FormData();
    form.append("file", file);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      job.upload = request;
      request.open("POST", "/v1/video?annotated=true");
      request.responseType = "json";
      for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
      request.upload.addEventListener("progress", ({ loaded, total }) => this.#progress(loaded / total, `Sending: ${Math.round((100 * loaded) / total)} %`));
      request.addEventListener("load", () => {
        if (request.status === 202) return resolve(request.response);
        const { code, message } = request.response?.error ?? {};
        reject(new ServiceError(refusalWords(code, message), request.status === 401 ? "key" : code, request.status));
      });
      request.addEventListener("error", () => reject(new ServiceError("Mien does not answer. Is “mien serve” still running?", "gone")));
      request.send(form);
    });
  }

  /** Ask for the state until the job has ended; returns true if it is done. */
  async #wait(job) {
    let misses = 0;
    while (job === this.#job) {
      const state = await call(`/v1/video/${job.id}`).then((answer) => answer.json(), (error) => {
        if (error.code !== "gone" || ++misses > PATIENCE) throw error;
        $("words").textContent = "Mien does not answer. Waiting for it to come back…";
        return null;
      });
      if (state) misses = 0;
      if (state?.state === "done") return true;
      if (state?.state === "failed") throw new Error(refusalWords(state.error?.code, state.error?.message));
      if (state?.state === "cancelled") return false;
      if (state) this.#progress(state.progress ?? 0, progressWords(state));
      await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS));
    }
    return false;
  }

  async #show(job) {
    const text = await (await call(`/v1/video/${job.id}/result`)).text();
    job.records = text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
    this.player.src = await this.#address(job);
    $("stage").dataset.state = "on";
    $("empty").hidden = true;
    this.#enable(true);
    $("save").href = this.player.src;
    $("save").download = `${stem(job.name)}-mien.mp4`;
    const last = job.records.findLast((record) => !record.error);
    this.timeline.set(job.records, last?.time_s ?? 0);
    this.player.addEventListener("loadedmetadata", () => {
      if (this.player.videoWidth) $("stage").style.aspectRatio = `${this.player.videoWidth} / ${this.player.videoHeight}`;
      this.timeline.lengthS = this.player.duration || this.timeline.lengthS;
      this.#follow();
    }, { once: true });
    this.reading.choose(null);
    this.#follow();
  }

  /** The address of the video for the player; with a key, the page downloads the video itself. */
  async #address(job) {
    const path = `/v1/video/${job.id}/annotated.mp4`;
    if (!authorization().Authorization) return path;
    return (job.blob = URL.createObjectURL(await (await call(path)).blob()));
  }

  #follow() {
    if (!this.#job?.records.length) return;
    const record = at(this.#job.records, this.player.currentTime);
    this.shown = this.reading.show(record)?.number ?? this.reading.chosen;
    this.#draw();
    const [now, end] = [this.player.currentTime, this.timeline.lengthS];
    const words = `${clock(now, true)} of ${clock(end, true)}`;
    $("clock").textContent = words;
    const slider = $("timeline");
    slider.setAttribute("aria-valuemax", end.toFixed(1));
    slider.setAttribute("aria-valuenow", now.toFixed(1));
    slider.setAttribute("aria-valuetext", words);
  }

  #draw() {
    if (this.page.active === "video" || this.page.active === undefined) this.timeline.draw(this.player.currentTime || 0, this.shown);
  }

  /** Redraw when the tab becomes visible or the colours change. */
  refresh() {
    this.#draw();
  }

  #animate() {
    if (!this.player.paused && !this.player.ended) this.#follow();
    requestAnimationFrame(() => this.#animate());
  }

  #seek(timeS) {
    if (this.#job?.records.length) this.player.currentTime = Math.min(Math.max(timeS, 0), this.timeline.lengthS);
  }

  #seekByKey(event) {
    const now = this.player.currentTime;
    const to = { ArrowLeft: now - SEEK_S, ArrowRight: now + SEEK_S, ArrowDown: now - SEEK_S, ArrowUp: now + SEEK_S, PageDown: now - 10 * SEEK_S, PageUp: now + 10 * SEEK_S, Home: 0, End: this.timeline.lengthS }[event.key];
    if (to === undefined && event.key !== " ") return;
    event.preventDefault();
    if (event.key !== " ") this.#seek(to);
    else if (this.player.paused) this.player.play();
    else this.player.pause();
  }

  /** Stop the running job, and delete its files in the service. */
  async #forget() {
    const job = this.#job;
    this.#job = null;
    job?.upload?.abort();
    if (job?.blob) URL.revokeObjectURL(job.blob);
    if (job?.id) await call(`/v1/video/${job.id}`, { method: "DELETE" }).catch(() => {});
    this.#empty("Drop a video here", WELCOME);
  }

  #empty(title, text) {
    this.player.removeAttribute("src");
    this.player.load();
    $("stage").dataset.state = "off";
    $("stage").style.aspectRatio = "";
    $("empty").hidden = false;
    $("work").hidden = true;
    $("text").hidden = false;
    $("choose").hidden = false;
    $("title").textContent = title;
    $("text").textContent = text;
    $("clock").textContent = "";
    this.timeline.set([], 0);
    this.#draw();
    this.reading.show(null, "Nothing to read yet");
    this.#enable(false);
  }

  #working(words) {
    $("title").textContent = words;
    $("text").hidden = true;
    $("choose").hidden = true;
    $("work").hidden = false;
    this.#progress(0, "");
  }

  #progress(share, words) {
    $("progress").value = share;
    $("words").textContent = words;
  }

  #enable(on) {
    for (const name of ["csv", "forget"]) $(name).disabled = !on;
    $("save").setAttribute("aria-disabled", String(!on));
    if (!on) $("save").removeAttribute("href");
  }
}

/** The last record at or before a time; records come in the order of their times. */
function at(records, timeS) {
  let [low, high] = [0, records.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (records[middle].time_s <= timeS + 1e-3) low = middle;
    else high = middle - 1;
  }
  return records[low];
}

function progressWords({ state, progress, frames, frames_per_second: pace }) {
  if (state === "queued") return "Waiting for another video to end…";
  const share = `${Math.round(100 * (progress ?? 0))} %`;
  return pace ? `${share}, ${frames} frames, ${Math.round(pace)} a second` : share;
}

const stem = (name) => name.replace(/\.[^.]*$/, "");
