// Frames in, results out, one after another: through the live stream of the service, or in this browser alone.

import { sentence, streamAddress, streamGreeting } from "./api.js";

const MAX_SIDE = 640; // pixels: longer side of the frames that are analysed
const QUALITY = 0.85;
const IN_FLIGHT = 2; // one frame is analysed while the next one is sent
const PATIENCE_MS = 10_000; // without any answer for this time, the service counts as gone
const MAX_WAIT_MS = 5000; // longest time between two attempts to connect

/**
 * A stream through the service, which connects again by itself when the service is back.
 * Handlers: onBegin() when time, ids and frame numbers start from zero, onResult(result, delay in ms), onGone(), onBack(),
 * onRefused(code, sentence).
 */
export class RemoteStream {
  #socket;
  #sent = new Map(); // number of a frame -> time when it was sent
  #frames = 0;
  #tries = 0;
  #timer = 0;
  #heardAt = 0;
  #refusal = ""; // the code with which the service closed
  #closed = false;
  #resting = false; // the service closed because no frames arrived; the next frame connects again
  #encoding = false;
  #canvas = document.createElement("canvas");

  constructor(handlers) {
    this.handlers = handlers;
    this.#connect();
  }

  get ready() {
    if (this.#socket.readyState !== WebSocket.OPEN) return false;
    if (this.#sent.size && performance.now() - this.#heardAt > PATIENCE_MS) this.#socket.close();
    return !this.#encoding && this.#sent.size < IN_FLIGHT;
  }

  /** Send the current picture of the video, if not too many frames are in flight. */
  send(video) {
    if (this.#resting && video.videoWidth) this.#connect();
    if (!this.ready || !video.videoWidth) return;
    Object.assign(this.#canvas, frameSize(video));
    this.#canvas.getContext("2d").drawImage(video, 0, 0, this.#canvas.width, this.#canvas.height);
    const takenAt = performance.now();
    this.#encoding = true;
    this.#canvas.toBlob((blob) => {
      this.#encoding = false;
      if (!blob || this.#closed || this.#socket.readyState !== WebSocket.OPEN) return;
      if (!this.#sent.size) this.#heardAt = performance.now();
      this.#sent.set(this.#frames++, takenAt);
      this.#socket.send(blob);
    }, "image/jpeg", QUALITY);
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket.close();
  }

  #connect() {
    const socket = new WebSocket(streamAddress());
    this.#socket = socket;
    this.#resting = false;
    this.#sent.clear();
    this.#frames = 0;
    socket.addEventListener("open", () => {
      this.handlers.onBegin();
      socket.send(streamGreeting({ max_faces: 50 }));
    });
    socket.addEventListener("message", ({ data }) => this.#take(JSON.parse(data)));
    socket.addEventListener("close", () => this.#lost());
  }

  #take(message) {
    this.#heardAt = performance.now();
    if (message.faces) {
      if (this.#tries) this.handlers.onBack();
      this.#tries = 0;
      this.#refusal = "";
      const takenAt = this.#sent.get(message.sequence);
      for (const number of this.#sent.keys()) if (number <= message.sequence) this.#sent.delete(number); // including the skipped ones
      this.handlers.onResult(message, performance.now() - (takenAt ?? performance.now()));
    } else if (message.error) {
      this.#sent.clear();
      this.#refusal = message.error.code;
      if (this.#refusal !== "idle") this.handlers.onRefused(this.#refusal, sentence(message.error.message)); // a hidden page sends nothing
    }
  }

  #lost() {
    if (this.#closed || this.#refusal === "key") return;
    if (this.#refusal === "idle") { // a hidden or paused tab takes no place
      this.#refusal = "";
      this.#resting = true;
      return;
    }
    if (this.#tries++ === 0 && !this.#refusal) this.handlers.onGone();
    this.#timer = setTimeout(() => this.#connect(), Math.min(MAX_WAIT_MS, 400 * 2 ** Math.min(this.#tries, 5)));
  }
}

/** The same in this browser alone. */
export class PrivateStream {
  #busy = false;
  #closed = false;

  constructor(engine, handlers) {
    this.handlers = handlers;
    this.look = engine.stream();
    this.startedAt = performance.now();
    handlers.onBegin();
  }

  get ready() {
    return !this.#busy && !this.#closed;
  }

  async send(video) {
    if (!this.ready || !video.videoWidth) return;
    this.#busy = true;
    const takenAt = performance.now();
    try {
      const { width, height } = frameSize(video);
      const picture = await createImageBitmap(video, { resizeWidth: width, resizeHeight: height, resizeQuality: "medium" });
      const result = await this.look(picture, (takenAt - this.startedAt) / 1000, "camera");
      if (!this.#closed) this.handlers.onResult(result, performance.now() - takenAt);
    } catch (error) {
      if (!this.#closed) this.handlers.onRefused("private", sentence(error.message));
    } finally {
      this.#busy = false;
    }
  }

  close() {
    this.#closed = true;
  }
}

function frameSize({ videoWidth, videoHeight }) {
  const scale = Math.min(1, MAX_SIDE / Math.max(videoWidth, videoHeight));
  return { width: Math.round(videoWidth * scale), height: Math.round(videoHeight * scale) };
}
