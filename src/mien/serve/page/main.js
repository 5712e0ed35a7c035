// The page: tabs, colours, private mode, and functions that the tabs share.

import { alive, authorization, models, setKey } from "./api.js";
import { Live } from "./live.js";
import { Photo } from "./photo.js";
import { PrivateEngine } from "./private/engine.js";
import { element } from "./reading.js";
import { Video } from "./video.js";

const $ = (id) => document.getElementById(id);
const TABS = ["live", "photo", "video"];
const THEMES = { system: ["◐", "Colours: as the system has them"], light: ["☀", "Colours: light"], dark: ["☾", "Colours: dark"] };
const CHECK_EVERY_MS = 3000;

class Page {
  #engine = null;
  #model = null;
  #gone = false;
  #checks = 0; // the timer

  start() {
    this.tabs = { live: new Live(this), photo: new Photo(this), video: new Video(this) };
    for (const name of TABS) $(`tab-${name}`).addEventListener("click", () => this.open(name));
    document.querySelector("[role=tablist]").addEventListener("keydown", (event) => this.#moveTab(event));
    $("private").addEventListener("click", () => this.#togglePrivate());
    $("theme").addEventListener("click", () => this.#nextTheme());
    this.#showTheme();
    addEventListener("hashchange", () => this.open(location.hash.slice(1)));
    this.open(location.hash.slice(1));
    this.#whereTo();
    this.#meet();
  }

  /** Show a tab; for an unknown name, the first one. */
  open(name) {
    this.active = TABS.includes(name) ? name : TABS[0];
    for (const tab of TABS) {
      const chosen = tab === this.active;
      $(`tab-${tab}`).setAttribute("aria-selected", String(chosen));
      $(`tab-${tab}`).tabIndex = chosen ? 0 : -1;
      $(`panel-${tab}`).hidden = !chosen;
    }
    if (location.hash.slice(1) !== this.active && (location.hash || this.active !== TABS[0])) history.replaceState(null, "", `#${this.active}`);
    this.tabs.live.refresh();
    this.tabs.video.refresh();
  }

  /** The engine of this browser, or null if the service analyses. */
  engine() {
    return this.#engine;
  }

  emptyEmotions() {
    return Object.fromEntries((this.#model?.labels ?? []).map((label) => [label, 0]));
  }

  /** Show whether the camera is on. */
  setCamera(on) {
    $("camera-sign").toggleAttribute("data-on", on);
    $("camera-sign").textContent = on ? "Camera on" : "";
    document.title = on ? "● Mien – camera on" : "Mien";
  }

  /** Show a message at the top; an empty text removes it. */
  notify(text) {
    const close = element("button", { textContent: "Close", type: "button" });
    close.addEventListener("click", () => this.notify(""));
    $("notice").replaceChildren(...(text ? [element("span", { textContent: text }), close] : []));
    $("notice").hidden = !text;
  }

  /** The service has answered: remove the message that it is away. */
  answered() {
    if (this.#gone) this.#back();
  }

  askForKey() {
    if ($("notice").querySelector("form")) return;
    const form = element("form");
    const input = element("input", { type: "password", autocomplete: "off", required: true, pattern: "[ -~]+", title: "letters, digits and signs of ASCII, as mien serve --new-key prints them" });
    input.setAttribute("aria-label", "Key");
    form.append("This service asks for a key.", input, element("button", { textContent: "Go on" }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (setKey(input.value.trim())) return location.reload();
      this.notify(""); // after a reload, the key would be forgotten
      this.#meet();
      this.tabs.live.connect();
      this.tabs.photo.again();
    });
    $("notice").replaceChildren(form);
    $("notice").hidden = false;
    input.focus();
  }

  /** Ask for the model of the service, and repeat until it answers. */
  async #meet() {
    try {
      [this.#model] = await models();
      $("model").textContent = `Model ${this.#model.name} ${this.#model.version}.`;
      for (const tab of Object.values(this.tabs)) tab.setLabels(this.#model.labels);
    } catch (error) {
      if (error.code === "key") return this.askForKey();
      this.notify(error.message);
      this.#gone = true;
      setTimeout(() => this.#meet(), CHECK_EVERY_MS);
      return;
    }
    this.answered();
    clearInterval(this.#checks);
    this.#checks = setInterval(() => this.#check(), CHECK_EVERY_MS);
  }

  async #check() {
    if (document.hidden || this.#engine) return;
    const there = await alive();
    if (!there && !this.#gone) {
      this.#gone = true;
      this.notify("Mien does not answer. It will go on as soon as it is back.");
    } else if (there && this.#gone) {
      this.#back();
    }
  }

  #back() {
    this.#gone = false;
    this.notify("");
  }

  async #togglePrivate() {
    const button = $("private");
    if (button.getAttribute("aria-busy") === "true") return;
    if (this.#engine) {
      this.#engine.close();
      this.#engine = null;
    } else {
      button.setAttribute("aria-busy", "true");
      const engine = new PrivateEngine();
      try {
        await engine.open(this.#model?.name, authorization());
        this.#engine = engine;
        this.notify("");
      } catch (error) {
        engine.close();
        this.notify(error.message);
      }
      button.removeAttribute("aria-busy");
    }
    button.setAttribute("aria-checked", String(Boolean(this.#engine)));
    this.#whereTo();
    this.tabs.live.connect();
    if (this.#engine) this.tabs.video.callBack();
    await this.tabs.photo.again();
  }

  /** The sentence about where pictures are sent. */
  #whereTo() {
    const here = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
    const service = here ? "Pictures go to Mien on this computer, and nowhere else; it does not keep them." : `Pictures go to Mien at ${location.hostname}; it does not keep them.`;
    $("private-words").textContent = this.#engine ? "Pictures stay in this browser: nothing is sent anywhere." : service;
  }

  #moveTab(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const last = TABS.length - 1;
    const at = TABS.indexOf(this.active);
    const to = step ? (at + step + TABS.length) % TABS.length : { Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.open(TABS[to]);
    $(`tab-${TABS[to]}`).focus();
  }

  #theme() {
    return document.documentElement.dataset.theme ?? "system";
  }

  #nextTheme() {
    const names = Object.keys(THEMES);
    const next = names[(names.indexOf(this.#theme()) + 1) % names.length];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      if (next === "system") localStorage.removeItem("mien-theme");
      else localStorage.setItem("mien-theme", next);
    } catch {
      // a browser without storage forgets this as well
    }
    this.#showTheme();
    this.tabs.live.refresh();
    this.tabs.video.refresh();
  }

  #showTheme() {
    const [sign, words] = THEMES[this.#theme()];
    $("theme").textContent = sign;
    $("theme").setAttribute("aria-label", words);
    $("theme").title = words;
  }
}

new Page().start();
