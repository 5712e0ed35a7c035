// Tracking over time, and probabilities without flicker. Ids depend on the overlap alone here; the smoothing is the same as in mien/track.py.
// There is no search for cuts (mien/media/cuts.py), because private mode reads only a camera.
// tests/serve/test_page_constants.py holds the constants to those of mien/track.py.

import { iou, widen } from "./geometry.js";

const HIGH_SCORE = 0.6; // a face with at least this score gets an id
const MAX_LOST_S = 2; // a person who is not detected for longer gets a new id
const [MARGIN, MARGIN_PER_S, MAX_MARGIN, MIN_IOU] = [0.2, 0.8, 1, 0.1];
const TIME_CONSTANT_S = 0.2;
const MIN_PROBABILITY = 0.005;

/** Gives every person of one stream a lasting id and smoothed probabilities. */
export class Tracker {
  #people = [];
  #next = 1;

  /** Faces (with `probabilities`, an array) -> the same faces with `track_id` and `smoothed`; null for an unknown face with a low score. */
  update(timeS, faces) {
    this.#people = this.#people.filter((person) => timeS - person.seenS <= MAX_LOST_S);
    const pairs = this.#pairs(timeS, faces);
    return faces.map((face) => {
      let person = pairs.get(face);
      if (!person && face.score >= HIGH_SCORE) this.#people.push((person = { id: this.#next++, logs: null }));
      if (!person) return { ...face, track_id: null, smoothed: null };
      const smoothed = smooth(person, timeS, face.probabilities);
      Object.assign(person, { seenS: timeS, box: face.box_xyxy });
      return { ...face, track_id: person.id, smoothed };
    });
  }

  /** Face -> person, largest overlaps first. */
  #pairs(timeS, faces) {
    const options = faces.flatMap((face) => this.#people.map((person) => ({ face, person, gain: overlap(face, person, timeS) })));
    const [pairs, taken] = [new Map(), new Set()];
    for (const { face, person, gain } of options.sort((a, b) => b.gain - a.gain)) {
      if (gain < MIN_IOU || pairs.has(face) || taken.has(person)) continue;
      pairs.set(face, person);
      taken.add(person);
    }
    return pairs;
  }
}

function overlap(face, person, timeS) {
  const margin = Math.min(MARGIN + MARGIN_PER_S * (timeS - person.seenS), MAX_MARGIN);
  return iou(widen(face.box_xyxy, margin), widen(person.box, margin));
}

/** A first-order low-pass filter on the logarithms, independent of the frame rate. */
function smooth(person, timeS, probabilities) {
  const logs = probabilities.map((p) => Math.log(Math.max(p, MIN_PROBABILITY)));
  const share = person.logs ? 1 - Math.exp(-(timeS - person.seenS) / TIME_CONSTANT_S) : 1;
  person.logs = logs.map((v, i) => (person.logs ? person.logs[i] + share * (v - person.logs[i]) : v));
  const odds = person.logs.map(Math.exp);
  const sum = odds.reduce((a, b) => a + b, 0);
  return odds.map((v) => v / sum);
}
