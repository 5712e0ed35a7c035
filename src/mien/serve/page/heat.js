// Heat maps over faces: warm parts support the answer, cold parts speak against it (colours and opacity as in mien/explain.py, which draws for the service).

import { similarity, invert } from "./private/geometry.js";

const [WARM, COLD] = [[255, 120, 20], [40, 120, 255]];
const STRONGEST = 0.6; // opacity at the largest effect
const DECISIVE = 0.1; // nats; in weaker maps the colour stays fainter

/** Draws numbers (S x S) in nats on a canvas of S x S; the largest value is the most opaque. */
export function heatLayer(heat, side) {
  const most = heat.reduce((best, value) => Math.max(best, Math.abs(value)), DECISIVE);
  const image = new ImageData(side, side);
  heat.forEach((value, i) => image.data.set([...(value >= 0 ? WARM : COLD), Math.round((255 * STRONGEST * Math.abs(value)) / most)], 4 * i));
  const canvas = new OffscreenCanvas(side, side);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** Draws a map over its face; `scale` is canvas pixels per pixel of the frame. Maps of the service are pictures of a part of the frame. */
export function placeHeat(context, { image, box_xyxy, template, landmarks }, scale) {
  context.save();
  if (box_xyxy) {
    const [x0, y0, x1, y1] = box_xyxy.map((v) => v * scale);
    context.drawImage(image, x0, y0, x1 - x0, y1 - y0);
  } else {
    const [a, b, c, d, e, f] = invert(similarity(landmarks, template)); // chip -> frame
    context.setTransform(a * scale, d * scale, b * scale, e * scale, c * scale, f * scale);
    context.drawImage(image, 0, 0);
  }
  context.restore();
}

/** Turns the picture grey, because the colours of the map are hard to see on a coloured picture. */
export function drainColour(context) {
  context.save();
  context.globalCompositeOperation = "saturation";
  context.fillStyle = "black";
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
  context.restore();
}

/** The largest effect in a map (nats), as a share of the label's probability. */
export const strongest = (heat) => -Math.expm1(-heat.reduce((best, value) => Math.max(best, Math.abs(value)), 0));

/** Shares of the support by part of the face, as a sentence. */
export function restsOn({ parts, strongest: share }) {
  if (share < strongest([DECISIVE])) {
    return `No part decides alone: covering one changes the probability by ${(100 * share).toFixed(1)} % at most.`;
  }
  const [[first, most], [second]] = Object.entries(parts).filter(([name]) => name !== "rest").sort((a, b) => b[1] - a[1]);
  if (!(most > 0)) return "The answer rests on no part of the face in particular.";
  return `The answer rests most on the ${first} (${most.toFixed(2)} of the support), then on the ${second}.`;
}
