// The thread of private mode: pictures in, faces with probabilities out. After `open`, it sends no request.

import { cutChip } from "./align.js";
import { checkSpec, modelInput, probabilities } from "./contract.js";
import { findFaces, networkInput } from "./detect.js";
import { byPart, occlusionMap } from "./explain.js";

const RUNTIME = "/runtime/ort.wasm.min.mjs";
const DETECTOR = new URL("../detector/face_detector.onnx", import.meta.url);
const MICRO_BATCH = 32;
let ort, spec, classifier, detector;

const VERBS = { open, analyze, explain, classify: ({ chips }) => classifyChips(chips) };

addEventListener("message", async ({ data: { id, verb, ...request } }) => {
  try {
    postMessage({ id, answer: await VERBS[verb](request) });
  } catch (error) {
    postMessage({ id, error: String(error?.message ?? error) });
  } finally {
    request.picture?.close?.();
  }
});

/** Load the runtime and both networks, and run each once. */
async function open({ model, threads, headers }) {
  ort = await import(RUNTIME);
  ort.env.wasm.wasmPaths = "/runtime/";
  ort.env.wasm.numThreads = threads;
  const [specText, weights, faces] = await Promise.all([
    get(`/v1/models/${encodeURIComponent(model)}/spec.json`, headers).then((answer) => answer.json()),
    get(`/v1/models/${encodeURIComponent(model)}/model.onnx`, headers).then((answer) => answer.arrayBuffer()),
    get(DETECTOR).then((answer) => answer.arrayBuffer()),
  ]);
  checkSpec(specText);
  spec = specText;
  classifier = await ort.InferenceSession.create(weights);
  detector = await ort.InferenceSession.create(faces);
  await classifyChips([new Uint8Array(spec.chip_size ** 2 * spec.channels)]);
  await runDetector(new ImageData(64, 64));
  return { labels: spec.labels, name: spec.name, version: spec.version };
}

async function get(address, headers = {}) {
  const answer = await fetch(address, { headers });
  if (!answer.ok) throw new Error(`${address} answered ${answer.status}`);
  return answer;
}

/** A picture (ImageBitmap) -> its faces, largest first, and its size. */
async function analyze({ picture, maxFaces, maxSide }) {
  const faces = (await findFaces(picture, runDetector, { maxSide })).slice(0, maxFaces);
  const frame = pixels(picture);
  const rows = await classifyChips(faces.map((face) => cutChip(frame, face.landmarks, spec)));
  return { width: picture.width, height: picture.height, uncertainBelow: spec.uncertain_below, faces: faces.map((face, i) => ({ ...face, probabilities: rows[i] })) };
}

/** How much each pixel of a face's chip supports its most probable label: { heat, side, template, parts }. */
async function explain({ picture, landmarks }) {
  const chip = cutChip(pixels(picture), landmarks, spec);
  const [row] = await classifyChips([chip]);
  const heat = await occlusionMap(chip, row.indexOf(Math.max(...row)), spec, classifyChips);
  return { heat, side: spec.chip_size, template: spec.template, parts: byPart(heat, spec) };
}

async function classifyChips(chips) {
  const rows = [];
  for (let start = 0; start < chips.length; start += MICRO_BATCH) {
    const { data, dims, type } = modelInput(chips.slice(start, start + MICRO_BATCH), spec);
    const outputs = await classifier.run({ [classifier.inputNames[0]]: new ort.Tensor(type, data, dims) });
    rows.push(...probabilities(outputs[spec.output_name || classifier.outputNames[0]].data, spec));
  }
  return rows;
}

async function runDetector(view) {
  const { data, dims } = networkInput(view);
  const outputs = await detector.run({ [detector.inputNames[0]]: new ort.Tensor("float32", data, dims) });
  return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, tensor.data]));
}

function pixels(picture) {
  const context = new OffscreenCanvas(picture.width, picture.height).getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, picture.width, picture.height);
}
