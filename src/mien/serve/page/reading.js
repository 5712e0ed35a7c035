// The answer for one person: the people to choose from, the label in large, and a bar per label.

import { colourOf, emotionsOf, inWords, numberOf, ranked } from "./emotions.js";

const SPEAK_EVERY_MS = 4000;
let groups = 0;

export class Reading {
  #labels = [];
  #rows = [];
  #numbers = "";
  #shown = null;
  #spokenAt = 0;
  /** The number of the shown person; null follows the largest face. */
  chosen = null;
  /** Called with a number when a person is chosen here. */
  onChoose = () => {};

  /** @param {HTMLElement} root an empty card. @param {string} empty the text when there is nobody. */
  constructor(root, empty) {
    this.empty = empty;
    this.group = `person-${groups++}`;
    this.people = element("fieldset", { className: "people", hidden: true });
    this.headline = element("p", { className: "headline waiting" });
    this.bars = element("ul", { className: "bars" });
    root.append(this.people, this.headline, this.bars);
    this.people.addEventListener("change", (event) => {
      this.choose(Number(event.target.value));
      this.onChoose(this.chosen);
    });
  }

  setLabels(labels) {
    this.#labels = labels;
    this.#rows = labels.map((label) => bar(label, colourOf(label, labels)));
    this.bars.replaceChildren(...this.#rows.map((row) => row.item));
    this.show(null);
  }

  /** Follow one person; with null, the largest face. */
  choose(number) {
    this.chosen = number;
    this.#shown = null;
    this.#mark(number);
  }

  /** Show a result (null: nothing) and return { face, index, number } of the shown person, if there is one. */
  show(result, waiting = this.empty) {
    const faces = result?.faces ?? [];
    if (faces.length && Object.keys(faces[0].emotions).join() !== this.#labels.join()) this.setLabels(Object.keys(faces[0].emotions));
    this.#offer(faces.map(numberOf));
    if (faces.length === 1) this.chosen = null; // with one face there is no choice, so a choice could not be undone
    const numbers = faces.map(numberOf);
    let index = numbers.indexOf(this.chosen ?? this.#shown);
    if (index < 0 && this.chosen === null) index = faces.length ? 0 : -1;
    const face = index < 0 ? null : faces[index];
    this.#shown = face ? numbers[index] : null;
    this.#mark(this.chosen ?? this.#shown);
    this.#head(face, faces.length ? `Person ${this.chosen} is not in the picture` : waiting);
    this.#rows.forEach((row, i) => row.set(face ? emotionsOf(face)[this.#labels[i]] : null, Boolean(face) && ranked(face)[0][0] === this.#labels[i]));
    return face ? { face, index, number: this.#shown } : null;
  }

  /** Announce the answer to a screen reader, with enough time between two announcements. */
  speak(text) {
    if (performance.now() - this.#spokenAt < SPEAK_EVERY_MS) return;
    const spoken = document.getElementById("spoken");
    if (spoken.textContent === text) return;
    spoken.textContent = text;
    this.#spokenAt = performance.now();
  }

  #mark(number) {
    for (const input of this.people.querySelectorAll("input")) input.checked = Number(input.value) === number;
  }

  #offer(numbers) {
    const sorted = [...numbers].sort((a, b) => a - b);
    const key = sorted.join();
    if (key === this.#numbers) return;
    const focused = this.people.contains(document.activeElement);
    this.#numbers = key;
    this.people.hidden = numbers.length < 2;
    const options = sorted.map((number) => {
      const label = element("label");
      const input = element("input", { type: "radio", name: this.group, value: String(number) });
      input.setAttribute("aria-label", `Person ${number}`);
      label.append(input, element("span", { textContent: String(number) }));
      return label;
    });
    this.people.replaceChildren(element("legend", { textContent: "Whose expression" }), ...options);
    if (focused) (this.people.querySelector("input:checked") ?? this.people.querySelector("input"))?.focus();
  }

  #head(face, waiting) {
    this.headline.classList.toggle("waiting", !face);
    if (!face) {
      this.headline.textContent = waiting;
      return;
    }
    const dot = element("i");
    dot.style.setProperty("--colour", face.uncertain ? "transparent" : colourOf(ranked(face)[0][0], this.#labels));
    this.headline.replaceChildren(dot, element("span", { textContent: inWords(face) }), element("b", { textContent: ranked(face)[0][1].toFixed(2) }));
  }
}

function bar(label, colour) {
  const item = element("li");
  const track = element("span", { className: "track" });
  const fill = element("span", { className: "fill" });
  const value = element("span", { className: "value", textContent: "–" });
  track.setAttribute("role", "meter");
  for (const [name, text] of [["label", label], ["valuemin", "0"], ["valuemax", "1"], ["valuenow", "0"]]) track.setAttribute(`aria-${name}`, text);
  item.dataset.label = label;
  item.style.setProperty("--colour", colour);
  track.append(fill);
  item.append(element("span", { textContent: label }), track, value);
  const set = (probability, top) => {
    fill.style.setProperty("--share", String(probability ?? 0));
    value.textContent = probability === null ? "–" : probability.toFixed(2);
    track.setAttribute("aria-valuenow", (probability ?? 0).toFixed(2));
    item.toggleAttribute("data-top", top);
  };
  return { item, set };
}

/** A new element with some properties set. */
export function element(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}
