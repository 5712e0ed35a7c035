// Draws faces on a canvas.

import { colourOf, emotionsOf, inWords, numberOf, ranked } from "./emotions.js";

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';
const PANEL = "rgb(16 18 22 / 84%)";

/**
 * Draw every face of a result.
 * @param {CanvasRenderingContext2D} context
 * @param {object} result a FrameResult.
 * @param {object} how scale: canvas pixels per pixel of the frame; x, y: position of the frame's corner; unit: canvas pixels per CSS pixel;
 *   mirrored: swap left and right, except for the text; chosen: the number of the person whose box is emphasised.
 */
export function drawFaces(context, result, { scale = 1, x = 0, y = 0, unit = 1, mirrored = false, chosen = null } = {}) {
  const boxes = result.faces.map((face) => place(face.box_xyxy, result.width, scale, x, y, mirrored));
  result.faces.forEach((face, i) => drawBox(context, boxes[i], faceColour(face), unit, result.faces.length > 1 && numberOf(face, i) === chosen));
  const taken = [];
  const numbered = result.faces.length > 1 || result.faces[0]?.track_id;
  result.faces.forEach((face, i) => drawLabel(context, boxes[i], face, numbered ? `${numberOf(face, i)}  ` : "", unit, taken));
}

/** Index of the face under a point of the frame, smallest box first; -1 if there is none. */
export function faceAt(result, px, py) {
  let best = -1;
  result.faces.forEach(({ box_xyxy: [x0, y0, x1, y1] }, i) => {
    if (px < x0 || px > x1 || py < y0 || py > y1) return;
    const [a, b, c, d] = best < 0 ? [0, 0, Infinity, 1] : result.faces[best].box_xyxy;
    if ((x1 - x0) * (y1 - y0) < (c - a) * (d - b)) best = i;
  });
  return best;
}

/** Scale and position { scale, x, y } that fit a whole frame into a box. */
export function contain(frame, box) {
  const scale = Math.min(box.width / frame.width, box.height / frame.height);
  return { scale, x: (box.width - frame.width * scale) / 2, y: (box.height - frame.height * scale) / 2 };
}

function place([x0, y0, x1, y1], width, scale, x, y, mirrored) {
  const [left, right] = mirrored ? [width - x1, width - x0] : [x0, x1];
  return [x + left * scale, y + y0 * scale, x + right * scale, y + y1 * scale];
}

function faceColour(face) {
  return face.uncertain ? "#ffffff" : colourOf(ranked(face)[0][0], Object.keys(emotionsOf(face)));
}

function drawBox(context, [x0, y0, x1, y1], colour, unit, chosen) {
  const line = (chosen ? 4 : 2.5) * unit;
  context.beginPath();
  context.roundRect(x0, y0, x1 - x0, y1 - y0, Math.min(10 * unit, (x1 - x0) / 6));
  context.lineWidth = line + 2.5 * unit;
  context.strokeStyle = "rgb(0 0 0 / 45%)"; // keeps the line visible on light pictures
  context.stroke();
  context.lineWidth = line;
  context.strokeStyle = colour;
  context.stroke();
}

function drawLabel(context, [x0, y0, x1, y1], face, name, unit, taken) {
  const { canvas } = context;
  const text = `${name}${inWords(face)}${face.uncertain ? "" : ` ${ranked(face)[0][1].toFixed(2)}`}`;
  context.font = `600 ${13 * unit}px ${FONT}`;
  const [pad, height] = [9 * unit, 25 * unit];
  const width = context.measureText(text).width + 2 * pad + 12 * unit;
  const left = Math.max(2 * unit, Math.min(x0, canvas.width - width - 2 * unit));
  const gap = 5 * unit;
  const tops = [y0 - height - gap, y1 + gap, y0 + gap].filter((top) => top >= 0 && top + height <= canvas.height);
  const free = (top) => !taken.some(([a, b, c, d]) => left < c && a < left + width && top < d && b < top + height);
  const top = tops.find(free) ?? tops[0] ?? 0;
  taken.push([left, top, left + width, top + height]);
  context.beginPath();
  context.roundRect(left, top, width, height, height / 2);
  context.fillStyle = PANEL;
  context.fill();
  context.beginPath();
  context.arc(left + pad + 3 * unit, top + height / 2, 4.5 * unit, 0, 7);
  context.fillStyle = faceColour(face);
  context.fill();
  context.fillStyle = "#fff";
  context.textBaseline = "middle";
  context.fillText(text, left + pad + 13 * unit, top + height / 2 + 0.5 * unit);
}
