// Draws expressions over time: at every moment, the colours of the labels stacked by probability; empty while the face was away.

import { colourOf, emotionsOf } from "./emotions.js";

const AWAY_S = 0.7; // with a longer gap between two frames, the person counts as away,
const AWAY_FRAMES = 3; // unless the frames are always this far apart
const FONT = "12px system-ui, sans-serif";
const AXIS = 20; // CSS pixels under the stacks

/** The last seconds of one person, as a running graph. */
export class RollingTimeline {
  #samples = new Map(); // number -> [{ timeS, emotions }]

  constructor(canvas, seconds = 30) {
    Object.assign(this, { canvas, seconds });
  }

  add(timeS, number, face) {
    const samples = this.#samples.get(number) ?? [];
    samples.push({ timeS, emotions: emotionsOf(face) });
    this.#samples.set(number, samples.filter((sample) => sample.timeS >= timeS - this.seconds - 1));
    for (const [other, kept] of this.#samples) if (kept.at(-1).timeS < timeS - this.seconds) this.#samples.delete(other);
  }

  clear() {
    this.#samples.clear();
  }

  draw(nowS, number) {
    const { context, width, height, colours } = prepare(this.canvas);
    const room = height - AXIS;
    const toX = (timeS) => width - ((nowS - timeS) / this.seconds) * width;
    context.fillStyle = colours.track;
    context.beginPath();
    context.roundRect(0, 0, width, room, 8);
    context.fill();
    context.save();
    context.clip();
    stack(context, this.#samples.get(number) ?? [], toX, 0, room);
    context.restore();
    context.fillStyle = colours.soft;
    context.textBaseline = "alphabetic";
    for (let back = this.seconds; back >= 0; back -= 10) {
      const x = toX(nowS - back);
      context.textAlign = back === this.seconds ? "left" : back ? "center" : "right";
      context.fillText(back ? `${back} s ago` : "now", x, height - 4);
    }
  }
}

/** A whole video: one lane per person, with a marker at the position of the player. */
export class VideoTimeline {
  #lanes = new Map();
  lengthS = 0;

  constructor(canvas) {
    this.canvas = canvas;
  }

  set(records, lengthS) {
    this.lengthS = lengthS;
    this.#lanes = new Map();
    for (const record of records) {
      for (const face of record.faces ?? []) {
        if (face.track_id === null) continue;
        if (!this.#lanes.has(face.track_id)) this.#lanes.set(face.track_id, []);
        this.#lanes.get(face.track_id).push({ timeS: record.time_s, emotions: emotionsOf(face) });
      }
    }
    const shown = Math.min(8, Math.max(1, this.#lanes.size));
    this.canvas.style.height = `${shown * 46 + AXIS}px`;
  }

  /** Time of the video at a point of the canvas, in seconds; `x` is in CSS pixels from the left edge. */
  timeAt(x) {
    const { left, width } = this.#area(this.canvas.clientWidth);
    return Math.min(Math.max((x - left) / width, 0), 1) * this.lengthS;
  }

  draw(nowS, chosen) {
    const { context, width: full, height, colours } = prepare(this.canvas);
    const { left, width } = this.#area(full);
    const room = height - AXIS;
    const toX = (timeS) => left + (timeS / (this.lengthS || 1)) * width;
    const lanes = [...this.#lanes].sort((a, b) => b[1].length - a[1].length).slice(0, 8).sort((a, b) => a[0] - b[0]);
    const lane = room / Math.max(1, lanes.length);
    if (!lanes.length) this.#nobody(context, left, width, room, colours);
    lanes.forEach(([number, samples], i) => {
      const [top, tall] = [i * lane, lane - 8];
      context.fillStyle = number === chosen ? colours.ink : colours.soft;
      context.font = `${number === chosen ? "700 " : ""}13px system-ui, sans-serif`;
      context.textAlign = "left";
      context.textBaseline = "middle";
      context.fillText(String(number), 2, top + tall / 2);
      context.save();
      context.beginPath();
      context.roundRect(left, top, width, tall, 7);
      context.clip();
      context.fillStyle = colours.track;
      context.fillRect(left, top, width, tall);
      stack(context, samples, toX, top, tall);
      context.restore();
    });
    this.#axis(context, toX, height, colours);
    context.fillStyle = colours.ink;
    context.fillRect(Math.round(toX(Math.min(nowS, this.lengthS))) - 1, 0, 2.5, room - 4);
  }

  #area(full) {
    return { left: 26, width: full - 28 };
  }

  #nobody(context, left, width, room, colours) {
    context.fillStyle = colours.track;
    context.beginPath();
    context.roundRect(left, 0, width, room - 8, 7);
    context.fill();
  }

  #axis(context, toX, height, colours) {
    const step = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800].find((s) => this.lengthS / s <= 8) ?? 3600;
    context.font = FONT;
    context.fillStyle = colours.soft;
    context.textBaseline = "alphabetic";
    for (let t = 0; t <= this.lengthS + 1e-6; t += step) {
      context.textAlign = t === 0 ? "left" : t + step > this.lengthS ? "right" : "center";
      context.fillText(clock(t, step < 1), toX(t), height - 4);
    }
  }
}

/** Seconds as a clock time. */
export function clock(timeS, tenths = false) {
  const minutes = Math.floor(timeS / 60);
  const seconds = (timeS - 60 * minutes).toFixed(tenths ? 1 : 0).padStart(tenths ? 4 : 2, "0");
  return `${minutes}:${seconds}`;
}

function stack(context, samples, toX, top, height) {
  if (!samples.length) return;
  const labels = Object.keys(samples[0].emotions);
  const colours = labels.map((label) => colourOf(label, labels));
  const usual = usualStep(samples);
  const away = Math.max(AWAY_S, AWAY_FRAMES * usual);
  samples.forEach(({ timeS, emotions }, i) => {
    const next = samples[i + 1]?.timeS ?? Infinity;
    const left = toX(timeS);
    const right = toX(next - timeS <= away ? next : timeS + usual);
    let bottom = top + height;
    labels.forEach((label, k) => {
      const tall = emotions[label] * height;
      context.fillStyle = colours[k];
      context.fillRect(left, bottom - tall, right - left + 0.6, tall + 0.4);
      bottom -= tall;
    });
  });
}

/** The median time between two samples, in seconds. */
function usualStep(samples) {
  const steps = samples.slice(1).map((sample, i) => sample.timeS - samples[i].timeS).sort((a, b) => a - b);
  return steps[steps.length >> 1] ?? 0.1;
}

function prepare(canvas) {
  const ratio = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = FONT;
  const style = getComputedStyle(canvas);
  const colours = Object.fromEntries(["track", "soft", "ink"].map((name) => [name, style.getPropertyValue(`--${name}`)]));
  return { context, width, height, colours };
}
