// Finds the parts of a face that an answer depends on, by covering one part after another; mien/explain.py in the browser.

const [PATCH, STEP] = [1 / 6, 1 / 16]; // side and stride of the cover, shares of the chip's side

/**
 * How much each pixel of a chip supports a label, S x S numbers in nats.
 * @param {(chips: Uint8Array[]) => Promise<number[][]>} classify chips -> rows of probabilities.
 */
export async function occlusionMap(chip, column, spec, classify) {
  const side = spec.chip_size;
  const size = Math.max(2, Math.round(side * PATCH));
  const corners = gridCorners(side, size);
  const grey = meanColour(chip, spec.channels);
  const rows = await classify([...corners.map((corner) => covered(chip, corner, size, grey, spec)), chip]);
  const logs = rows.map((row) => Math.log(Math.max(row[column], 1e-12)));
  const [total, count] = [new Float64Array(side * side), new Float64Array(side * side)];
  corners.forEach(([x, y], i) => {
    for (let v = y; v < y + size; v++) {
      for (let u = x; u < x + size; u++) {
        total[v * side + u] += logs.at(-1) - logs[i];
        count[v * side + u] += 1;
      }
    }
  });
  return total.map((value, i) => value / count[i]);
}

/** Shares of the support (positive values) around the eyes, the nose and the mouth, and in the rest. */
export function byPart(heat, { chip_size: side, template }) {
  const names = ["eyes", "eyes", "nose", "mouth", "mouth"];
  const parts = { eyes: 0, nose: 0, mouth: 0, rest: 0 };
  let total = 0;
  heat.forEach((value, i) => {
    if (value <= 0) return;
    const distances = template.map(([x, y]) => Math.hypot((i % side) - x, Math.floor(i / side) - y));
    const nearest = Math.min(...distances);
    parts[nearest <= side / 6 ? names[distances.indexOf(nearest)] : "rest"] += value;
    total += value;
  });
  return Object.fromEntries(Object.entries(parts).map(([name, sum]) => [name, sum / (total || 1)]));
}

function gridCorners(side, size) {
  const last = side - size;
  const along = [];
  for (let at = 0; at < last; at += Math.max(1, Math.round(side * STEP))) along.push(at);
  along.push(last);
  return along.flatMap((y) => along.map((x) => [x, y]));
}

function meanColour(chip, channels) {
  const sums = new Array(channels).fill(0);
  chip.forEach((value, i) => (sums[i % channels] += value));
  return sums.map((sum) => Math.round((sum * channels) / chip.length));
}

function covered(chip, [x, y], size, grey, { chip_size: side, channels }) {
  const out = chip.slice();
  for (let v = y; v < y + size; v++) {
    for (let u = x; u < x + size; u++) out.set(grey, (v * side + u) * channels);
  }
  return out;
}
