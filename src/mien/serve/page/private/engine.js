// Private mode for the page: returns the answers of the worker as records of the schema mien/1, like the service does.

import { SURE_FACE } from "./detect.js";
import { Tracker } from "./track.js";

const SCHEMA = "mien/1";
const MAX_THREADS = 4;

/** Analyses in the browser; call `open` once, then the other methods as often as wanted. */
export class PrivateEngine {
  #worker = null;
  #waiting = new Map();
  #number = 0;
  model = null;

  /** Load everything, with `headers` for the service; throws a sentence for people if this fails. */
  async open(model, headers) {
    const manifest = await fetch("/runtime/manifest.json").catch(() => null);
    if (!manifest?.ok) throw new Error("The browser's own runtime is not installed. Run “mien web install-runtime” once, then try again.");
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.#worker.addEventListener("message", ({ data }) => this.#settle(data));
    this.#worker.addEventListener("error", (event) => this.#fail(event.message || "The browser could not start its worker."));
    const threads = self.crossOriginIsolated ? Math.min(Math.ceil((navigator.hardwareConcurrency || 1) / 2), MAX_THREADS) : 1; // the page needs cores as well
    this.model = await this.#ask("open", { model, threads, headers });
  }

  close() {
    this.#worker?.terminate();
    this.#worker = null;
    this.#fail("Private mode was switched off.");
  }

  /** The faces of a picture (an ImageBitmap, which is transferred) as a FrameResult. */
  async analyze(picture, { source = "photo", maxFaces = 1000 } = {}) {
    return this.#record(await this.#ask("analyze", { picture, maxFaces, maxSide: 960 }, [picture]), source);
  }

  /** Rows of probabilities for chips (S x S x C bytes each). */
  classify(chips) {
    return this.#ask("classify", { chips });
  }

  /** { heat, side, template, parts } of the face with these landmarks. */
  explain(picture, landmarks) {
    return this.#ask("explain", { picture, landmarks }, [picture]);
  }

  /** A function that takes the frames of one stream in order: (picture, time in s) -> FrameResult with ids. */
  stream({ maxSide = 320 } = {}) {
    const tracker = new Tracker();
    let index = 0;
    return async (picture, timeS, source) => {
      const found = await this.#ask("analyze", { picture, maxFaces: 50, maxSide }, [picture]);
      return { ...this.#record({ ...found, faces: tracker.update(timeS, found.faces) }, source), frame_index: index++, time_s: timeS };
    };
  }

  #record({ width, height, uncertainBelow, faces }, source) {
    const byLabel = (values) => Object.fromEntries(this.model.labels.map((label, i) => [label, values[i]]));
    return {
      schema: SCHEMA, source, frame_index: null, time_s: null, width, height,
      faces: faces.map(({ probabilities, track_id = null, smoothed = null, ...face }) => ({
        ...face,
        emotions: byLabel(probabilities),
        top: this.model.labels[probabilities.indexOf(Math.max(...probabilities))],
        confidence: Math.max(...probabilities),
        uncertain: Math.max(...(smoothed ?? probabilities)) < uncertainBelow || face.score < SURE_FACE,
        track_id,
        smoothed: smoothed && byLabel(smoothed),
      })),
      model: { name: this.model.name, version: this.model.version },
      notes: [],
    };
  }

  #ask(verb, request, transfer = []) {
    if (!this.#worker) return Promise.reject(new Error("Private mode is off."));
    const id = this.#number++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, verb, ...request }, transfer);
    });
  }

  #settle({ id, answer, error }) {
    const { resolve, reject } = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) resolve(answer);
    else reject(new Error(error));
  }

  #fail(message) {
    for (const { reject } of this.#waiting.values()) reject(new Error(message));
    this.#waiting.clear();
  }
}
