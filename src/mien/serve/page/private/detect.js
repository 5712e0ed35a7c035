// Where the faces of a frame are, with five landmarks each; mien/detect/base.py and yunet.py in the browser, with the server's own network.

import { iou } from "./geometry.js";

const STRIDES = [8, 16, 32];
const THRESHOLD = 0.3; // lowest score in the fine view
const COARSE_SIDE = 192; // the view for faces that fill the picture
const COARSE_SCORE = 0.6;
const LARGEST_FACE = 320; // pixels of the fine view; the coarse one is right above that
const SMALLEST_SIDE = 256;
const FINE_FACE = 96; // pixels of the smallest wanted face in the fine view
export const SURE_FACE = 0.7; // a box that scores less is `uncertain`, whatever the model says of it
const SAME_FACE_IOU = 0.4;

/**
 * Faces of a picture, largest first: { box_xyxy, score, landmarks }, in its pixels.
 * @param {CanvasImageSource & {width: number, height: number}} picture
 * @param {(view: ImageData) => Promise<object>} run the network: pixels -> YuNet's outputs by name.
 */
export async function findFaces(picture, run, { maxSide = 960, minFace = 20 } = {}) {
  const longest = Math.max(picture.width, picture.height);
  const side = Math.max(Math.min(longest, maxSide, Math.round((longest * FINE_FACE) / Math.max(minFace, 1))), Math.min(SMALLEST_SIDE, maxSide));
  let faces = await look(picture, run, side, THRESHOLD);
  if (side > LARGEST_FACE) {
    faces = faces.filter(({ box_xyxy: b }) => (Math.max(b[2] - b[0], b[3] - b[1]) * side) / longest <= LARGEST_FACE);
    faces.push(...(await look(picture, run, COARSE_SIDE, COARSE_SCORE)));
  }
  const clipped = distinct(faces).map((face) => ({ ...face, box_xyxy: clip(face.box_xyxy, picture) }));
  return clipped.filter((face) => Math.min(...size(face)) >= minFace).sort((a, b) => area(b) - area(a));
}

/** Faces in a copy of the picture whose longer side is `side`, best first, in pixels of the picture. */
async function look(picture, run, side, threshold) {
  const scale = side / Math.max(picture.width, picture.height);
  const [width, height] = [Math.max(1, Math.round(picture.width * scale)), Math.max(1, Math.round(picture.height * scale))];
  const canvas = new OffscreenCanvas(roundUp(width), roundUp(height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, width, height);
  const outputs = await run(context.getImageData(0, 0, canvas.width, canvas.height));
  const [sx, sy] = [picture.width / width, picture.height / height];
  const faces = decode(outputs, canvas.width, canvas.height, threshold);
  for (const face of faces) {
    face.box_xyxy = face.box_xyxy.map((v, i) => v * (i % 2 ? sy : sx));
    face.landmarks = face.landmarks.map(([x, y]) => [x * sx, y * sy]);
  }
  return faces.sort((a, b) => b.score - a.score);
}

/** The network's outputs -> faces in pixels of its input; every cell of a grid of 8, 16 or 32 px names at most one. */
function decode(outputs, width, height, threshold) {
  const faces = [];
  for (const stride of STRIDES) {
    const columns = width / stride;
    const [cls, obj, box, points] = ["cls", "obj", "bbox", "kps"].map((kind) => outputs[`${kind}_${stride}`]);
    for (let i = 0; i < columns * (height / stride); i++) {
      const score = Math.sqrt(Math.min(Math.max(cls[i], 0), 1) * Math.min(Math.max(obj[i], 0), 1));
      if (!(score >= threshold)) continue;
      const [cx, cy] = [i % columns, Math.floor(i / columns)];
      const [x, y] = [(cx + box[4 * i]) * stride, (cy + box[4 * i + 1]) * stride];
      const [w, h] = [(Math.exp(box[4 * i + 2]) * stride) / 2, (Math.exp(box[4 * i + 3]) * stride) / 2];
      const landmarks = Array.from({ length: 5 }, (_, k) => [(cx + points[10 * i + 2 * k]) * stride, (cy + points[10 * i + 2 * k + 1]) * stride]);
      faces.push({ box_xyxy: [x - w, y - h, x + w, y + h], score, landmarks });
    }
  }
  return faces;
}

/** The network's input, BGR planes float32 (1, 3, H, W), from RGBA pixels. */
export function networkInput({ data, width, height }) {
  const plane = width * height;
  const values = new Float32Array(3 * plane);
  for (let i = 0; i < plane; i++) {
    values[i] = data[4 * i + 2];
    values[plane + i] = data[4 * i + 1];
    values[2 * plane + i] = data[4 * i];
  }
  return { data: values, dims: [1, 3, height, width] };
}

/** The faces that overlap no earlier one by more than SAME_FACE_IOU. */
function distinct(faces) {
  const kept = [];
  for (const face of faces) {
    if (!kept.some((other) => iou(face.box_xyxy, other.box_xyxy) > SAME_FACE_IOU)) kept.push(face);
  }
  return kept;
}

function clip([x0, y0, x1, y1], { width, height }) {
  const within = (v, most) => Math.min(Math.max(v, 0), most);
  return [within(x0, width), within(y0, height), within(x1, width), within(y1, height)];
}

const size = ({ box_xyxy: b }) => [b[2] - b[0], b[3] - b[1]];
const area = (face) => size(face)[0] * size(face)[1];
const roundUp = (pixels) => 32 * Math.ceil(pixels / 32);
