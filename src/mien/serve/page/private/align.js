// Cuts the chip of a face out of a frame by five points; every byte is the same as from mien/align.py with Pillow.

import { invert, similarity, transform } from "./geometry.js";

/**
 * The upright face, placed on the template: bytes S x S x channels.
 * @param {{data: Uint8ClampedArray, width: number, height: number}} frame RGBA, as a canvas gives it.
 * @param {number[][]} landmarks five points in pixels of the frame.
 */
export function cutChip(frame, landmarks, spec) {
  const side = spec.chip_size;
  const m = invert(similarity(landmarks, spec.template)); // chip -> frame
  const scale = Math.hypot(m[0], m[3]); // frame pixels per chip pixel
  const corners = [[0, 0], [side, 0], [0, side], [side, side]].map((point) => transform(m, point));
  const margin = 2 + 2 * scale;
  const [xs, ys] = [corners.map((p) => p[0]), corners.map((p) => p[1])];
  const [x0, y0] = [Math.floor(Math.min(...xs) - margin), Math.floor(Math.min(...ys) - margin)];
  const [x1, y1] = [Math.ceil(Math.max(...xs) + margin), Math.ceil(Math.max(...ys) + margin)];
  const step = Math.max(1, Math.trunc(scale));
  const patch = shrink(cut(frame, x0, y0, x1, y1, spec.channels), step);
  const matrix = [m[0], m[1], m[2] - x0, m[3], m[4], m[5] - y0].map((v) => v / step);
  return warp(patch, matrix, side);
}

/** frame[y0:y1, x0:x1] as grey or RGB; outside the frame, its border pixels are repeated. */
function cut(frame, x0, y0, x1, y1, channels) {
  const [width, height] = [x1 - x0, y1 - y0];
  const data = new Uint8Array(width * height * channels);
  let at = 0;
  for (let y = y0; y < y1; y++) {
    const row = Math.min(Math.max(y, 0), frame.height - 1) * frame.width;
    for (let x = x0; x < x1; x++) {
      const from = 4 * (row + Math.min(Math.max(x, 0), frame.width - 1));
      const [r, g, b] = [frame.data[from], frame.data[from + 1], frame.data[from + 2]];
      if (channels === 1) {
        data[at++] = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16; // ITU-R 601, in Pillow's fixed point
      } else {
        data[at++] = r;
        data[at++] = g;
        data[at++] = b;
      }
    }
  }
  return { data, width, height, channels };
}

/** The means of step x step blocks; those at the right and lower edge may be smaller. */
function shrink(image, step) {
  if (step === 1) return image;
  const [width, height] = [Math.ceil(image.width / step), Math.ceil(image.height / step)];
  const { channels } = image;
  const data = new Uint8Array(width * height * channels);
  for (let y = 0; y < height; y++) {
    const bottom = Math.min((y + 1) * step, image.height);
    for (let x = 0; x < width; x++) {
      const right = Math.min((x + 1) * step, image.width);
      const count = (right - x * step) * (bottom - y * step);
      for (let c = 0; c < channels; c++) {
        let sum = count >> 1; // rounds the mean, but for Pillow's reciprocal of 24 bits
        for (let v = y * step; v < bottom; v++) {
          for (let u = x * step; u < right; u++) sum += image.data[(v * image.width + u) * channels + c];
        }
        data[(y * width + x) * channels + c] = Math.floor((sum * Math.floor(2 ** 24 / count)) / 2 ** 24);
      }
    }
  }
  return { data, width, height, channels };
}

/** side x side pixels, each interpolated bilinearly at the point where `m` maps its centre. */
function warp({ data, width, height, channels }, m, side) {
  const out = new Uint8Array(side * side * channels);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const [u, v] = transform(m, [x + 0.5, y + 0.5]);
      if (u < 0 || u >= width || v < 0 || v >= height) continue;
      const [left, top] = [Math.floor(u - 0.5), Math.floor(v - 0.5)];
      const [dx, dy] = [u - 0.5 - left, v - 0.5 - top];
      const [xa, xb] = [Math.max(left, 0), Math.min(left + 1, width - 1)];
      const [ya, yb] = [Math.max(top, 0), Math.min(top + 1, height - 1)];
      for (let c = 0; c < channels; c++) {
        const at = (row, column) => data[(row * width + column) * channels + c];
        const upper = at(ya, xa) + (at(ya, xb) - at(ya, xa)) * dx;
        const lower = at(yb, xa) + (at(yb, xb) - at(yb, xa)) * dx;
        out[(y * side + x) * channels + c] = upper + (lower - upper) * dy; // truncated, as Pillow does
      }
    }
  }
  return out;
}
