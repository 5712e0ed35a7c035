// The Photo tab: drop, paste or choose a photo; shows the marked faces, their bars, and explanations.

import { analyze, sentence, UNREAD } from "./api.js";
import { describe, numberOf } from "./emotions.js";
import { contain, drawFaces, faceAt } from "./draw.js";
import { drainColour, heatLayer, placeHeat, restsOn, strongest } from "./heat.js";
import { element, Reading } from "./reading.js";
import { download, downloadCanvas } from "./save.js";

const MAX_SIDE = 2400; // pixels of the marked picture that is shown and saved
const $ = (id) => document.getElementById(`photo-${id}`);

export class Photo {
  #photos = []; // { file, name, result, error, heat, heatOn, thumb }
  #current = null; // the photo that is shown
  #next = null; // the photo that is shown next: the same one, or one that is being decoded
  #picture = null; // pixels of the shown photo only: a photo of a phone takes 50 MB
  #unread = ""; // the reason when there are no pixels because the file is gone

  constructor(page) {
    this.page = page;
    this.canvas = $("canvas");
    this.reading = new Reading($("reading"), "No face found");
    this.reading.onChoose = () => this.#show(this.#current);
    for (const name of ["choose", "more"]) $(name).addEventListener("click", () => $("input").click());
    $("input").addEventListener("change", () => {
      this.add([...$("input").files]);
      $("input").value = "";
    });
    $("heat").addEventListener("click", () => this.#toggleHeat());
    $("download").addEventListener("click", () => downloadCanvas(this.canvas, `${stem(this.#current.name)}-mien.jpg`, "image/jpeg"));
    $("json").addEventListener("click", () => this.#saveJson());
    this.canvas.addEventListener("click", (event) => this.#pick(event));
    document.addEventListener("paste", (event) => this.page.active === "photo" && this.add([...event.clipboardData.files]));
    acceptDrops($("stage"), (files) => this.add(files));
  }

  setLabels(labels) {
    this.reading.setLabels(labels);
    this.reading.show(null, "Nothing to read yet");
  }

  /** Analyse files one after another, and show the first one at once. */
  async add(files) {
    const added = files.map((file) => ({ file, name: file.name || "pasted picture", heat: null, heatOn: false }));
    if (!added.length) return;
    this.#photos.push(...added);
    this.#listThumbs();
    await this.#open(added[0]);
    for (const photo of added) await this.#look(photo);
  }

  /** Analyse the shown photo again, after a switch between service and browser. */
  async again() {
    if (!this.#current) return;
    Object.assign(this.#current, { result: null, error: null, heat: null, heatOn: false });
    await this.#look(this.#current);
  }

  async #look(photo) {
    if (photo.result) return;
    if (photo === this.#current) $("busy").hidden = false;
    try {
      photo.result = { ...(await this.#ask(photo)), source: photo.name };
      photo.error = null;
      this.page.answered();
    } catch (error) {
      photo.error = error.message;
      if (error.code === "key") this.page.askForKey();
    }
    this.#listThumbs();
    if (photo === this.#current && photo === this.#next) await this.#open(photo);
  }

  async #ask(photo) {
    const engine = this.page.engine();
    if (!engine) return analyze(photo.file);
    const picture = await this.#copy(photo);
    if (!picture) throw new Error("This browser cannot open this kind of picture. Without “In this browser only”, Mien can try.");
    return engine.analyze(picture, { source: photo.name });
  }

  /** Pixels of a photo, to pass on or to close; from memory while it is shown, because its file may be gone. */
  #copy(photo) {
    return photo === this.#current && this.#picture ? createImageBitmap(this.#picture) : decode(photo.file);
  }

  async #open(photo) {
    this.#next = photo;
    $("busy").hidden = Boolean(photo.result || photo.error);
    let picture = photo === this.#current ? this.#picture : null;
    let unread = "";
    try {
      picture ??= await decode(photo.file);
    } catch (error) {
      unread = error.message;
    }
    if (photo !== this.#next) return picture?.close();
    if (picture !== this.#picture) this.#picture?.close();
    this.#current = photo;
    this.#picture = picture;
    this.#unread = unread;
    $("busy").hidden = Boolean(photo.result || photo.error); // the answer may have arrived meanwhile
    this.reading.choose(null);
    this.#show(photo);
  }

  #show(photo) {
    const { result, error } = photo;
    const picture = this.#picture;
    $("stage").dataset.state = "on";
    $("empty").hidden = true;
    const shown = this.reading.show(result, error ? "No answer" : result ? undefined : "Looking…");
    if (picture) this.#draw(photo, shown?.number ?? null);
    else this.#drawNothing();
    const notes = [...(result?.notes ?? []).map(sentence), ...(this.#unread ? [this.#unread] : [])];
    const answers = result && (result.faces.length > 3 ? `${result.faces.length} faces.` : describe(result.faces));
    const because = photo.heatOn && photo.heat?.[shown?.index] ? [restsOn(photo.heat[shown.index])] : [];
    $("words").textContent = error ?? (result ? [answers, ...because, ...notes].join(" ") : "");
    this.canvas.setAttribute("aria-label", result ? `${photo.name}. ${describe(result.faces)}` : photo.name);
    const faces = Boolean(result?.faces.length);
    $("heat").disabled = !faces || !picture;
    $("heat").setAttribute("aria-pressed", String(Boolean(photo.heatOn)));
    $("download").disabled = !result || !picture;
    $("json").disabled = !result;
    this.#markThumb();
  }

  #draw({ result, heat, heatOn }, chosen) {
    const picture = this.#picture;
    const share = Math.min(1, MAX_SIDE / Math.max(picture.width, picture.height));
    Object.assign(this.canvas, { width: Math.round(picture.width * share), height: Math.round(picture.height * share) });
    $("stage").style.aspectRatio = `${Math.min(Math.max(picture.width / picture.height, 0.8), 2.2)}`;
    const context = this.canvas.getContext("2d");
    context.drawImage(picture, 0, 0, this.canvas.width, this.canvas.height);
    if (!result) return;
    const scale = this.canvas.width / result.width;
    if (heatOn && heat) {
      drainColour(context);
      heat.forEach((layer) => placeHeat(context, layer, scale));
    }
    const shownScale = contain(this.canvas, { width: this.canvas.clientWidth || 1, height: this.canvas.clientHeight || 1 }).scale;
    drawFaces(context, result, { scale, unit: 1 / shownScale, chosen });
  }

  #drawNothing() {
    Object.assign(this.canvas, { width: 640, height: 480 });
    const context = this.canvas.getContext("2d");
    context.fillStyle = "#a6acb8";
    context.font = "20px system-ui, sans-serif";
    context.textAlign = "center";
    context.fillText(this.#unread || "This browser cannot show this kind of picture.", 320, 240);
  }

  #pick(event) {
    const result = this.#current?.result;
    if (!result) return;
    const { scale, x, y } = contain(result, { width: this.canvas.clientWidth, height: this.canvas.clientHeight });
    const index = faceAt(result, (event.offsetX - x) / scale, (event.offsetY - y) / scale);
    if (index < 0) return;
    this.reading.choose(numberOf(result.faces[index], index));
    this.#show(this.#current);
  }

  async #toggleHeat() {
    const photo = this.#current;
    photo.heatOn = !photo.heatOn;
    if (photo.heatOn && !photo.heat) {
      $("busy").hidden = false;
      try {
        photo.heat = await this.#heat(photo);
      } catch (error) {
        photo.heatOn = false;
        this.page.notify(error.message);
      }
      $("busy").hidden = true;
    }
    if (photo === this.#current) this.#show(photo);
  }

  async #heat(photo) {
    const engine = this.page.engine();
    if (!engine) {
      const { faces } = await analyze(photo.file, { explain: true });
      return Promise.all(faces.filter((face) => face.explanation).map(fromService));
    }
    const layers = [];
    const picture = await this.#copy(photo);
    try {
      for (const { landmarks } of photo.result.faces) {
        const { heat, side, template, parts } = await engine.explain(await createImageBitmap(picture), landmarks);
        layers.push({ image: heatLayer(heat, side), template, landmarks, parts, strongest: strongest(heat) });
      }
    } finally {
      picture?.close();
    }
    return layers;
  }

  #saveJson() {
    const lines = this.#photos.filter((photo) => photo.result).map((photo) => JSON.stringify(photo.result));
    download(`${lines.join("\n")}\n`, `${stem(this.#current.name)}-mien.jsonl`, "application/x-ndjson");
  }

  #listThumbs() {
    if (this.#photos.length < 2) return;
    for (const photo of this.#photos) {
      photo.thumb ??= this.#newThumb(photo);
      const count = photo.result ? String(photo.result.faces.length) : photo.error ? "!" : "…";
      photo.thumb.querySelector(".count").textContent = count;
      photo.thumb.setAttribute("aria-label", `${photo.name}: ${photo.result ? `faces: ${count}` : photo.error ? "no answer" : "waiting"}`);
    }
    this.#markThumb();
  }

  #newThumb(photo) {
    const item = element("li");
    item.append(thumb(photo, () => this.#open(photo)));
    $("thumbs").append(item);
    return item.firstChild;
  }

  #markThumb() {
    for (const photo of this.#photos) photo.thumb?.setAttribute("aria-current", String(photo === this.#current));
  }
}

/** Accept files that are dropped on an element, and highlight the element meanwhile. */
export function acceptDrops(target, onFiles) {
  const mark = (on) => target.toggleAttribute("data-drop", on);
  target.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  target.addEventListener("dragleave", () => mark(false));
  target.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    onFiles([...event.dataTransfer.files]);
  });
}

/** The upright pixels of a file, or null if the browser cannot decode it; throws a sentence for people if the file is gone. */
async function decode(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    await file.slice(0, 1).arrayBuffer().catch(() => {
      throw new Error(UNREAD);
    });
    return null;
  }
}

async function fromService(face) {
  const bytes = Uint8Array.from(atob(face.explanation.png), (letter) => letter.charCodeAt(0));
  const { box_xyxy, parts, strongest } = face.explanation;
  return { image: await createImageBitmap(new Blob([bytes], { type: "image/png" })), box_xyxy, parts, strongest };
}

function thumb(photo, onClick) {
  const button = element("button", { type: "button" });
  const image = element("img", { alt: "", src: URL.createObjectURL(photo.file) });
  image.addEventListener("error", () => image.replaceWith(document.createTextNode(photo.name.slice(-12))));
  button.append(image, element("span", { className: "count" }));
  button.addEventListener("click", onClick);
  return button;
}

const stem = (name) => name.replace(/\.[^.]*$/, "");
