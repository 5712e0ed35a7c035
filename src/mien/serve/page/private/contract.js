// The spec.json of a model, and the way from chips to calibrated probabilities; mien/contract.py and mien/classify.py in the browser.

const CONTRACT_VERSION = 1;

/** Throw a sentence unless this page supports every value of `spec`. */
export function checkSpec(spec) {
  const fits =
    spec.contract_version === CONTRACT_VERSION && spec.interpolation === "area+bilinear" && spec.border === "edge" &&
    spec.output === "logits" && ["float32", "uint8"].includes(spec.input_dtype);
  if (!fits) throw new Error(`The model ${spec.name} cannot run in the browser: it takes ${spec.input_dtype} by contract ${spec.contract_version}.`);
}

/** Chips (each S x S x C bytes) -> the network's input: { data, dims: [N, S, S, C], type }. */
export function modelInput(chips, spec) {
  const dims = [chips.length, spec.chip_size, spec.chip_size, spec.channels];
  const size = spec.chip_size * spec.chip_size * spec.channels;
  const data = new (spec.input_dtype === "uint8" ? Uint8Array : Float32Array)(chips.length * size);
  chips.forEach((chip, i) => data.set(chip, i * size));
  if (spec.input_range === "0..1") for (let i = 0; i < data.length; i++) data[i] /= 255;
  return { data, dims, type: spec.input_dtype };
}

/** Logits (one row per chip, in a flat array) -> rows of probabilities that sum to 1. */
export function probabilities(logits, spec) {
  const width = spec.labels.length;
  return Array.from({ length: logits.length / width }, (_, i) => softmax(Array.from(logits.slice(i * width, (i + 1) * width)), spec.temperature));
}

/** softmax(values / temperature). */
export function softmax(values, temperature = 1) {
  const most = Math.max(...values);
  const odds = values.map((v) => Math.exp((v - most) / temperature));
  const sum = odds.reduce((a, b) => a + b, 0);
  return odds.map((v) => v / sum);
}
