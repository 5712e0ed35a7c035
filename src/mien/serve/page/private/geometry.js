// Boxes [x0, y0, x1, y1] and 2x3 affine matrices [a, b, c, d, e, f] = [[a, b, c], [d, e, f]]; mien/geometry.py in the browser.

/** Intersection over union of two boxes, 0..1; 0 for an empty box. */
export function iou(a, b) {
  const width = Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0]));
  const height = Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  const union = area(a) + area(b) - width * height;
  return union > 0 ? (width * height) / union : 0;
}

function area(box) {
  return Math.max(0, box[2] - box[0]) * Math.max(0, box[3] - box[1]);
}

/** The box, widened by `margin` times its width at the left and right, and times its height above and below. */
export function widen([x0, y0, x1, y1], margin) {
  const [w, h] = [margin * (x1 - x0), margin * (y1 - y0)];
  return [x0 - w, y0 - h, x1 + w, y1 + h];
}

/** Rotation, uniform scale and shift that best map the points of `source` onto those of `target` (Umeyama 1991, least squares). */
export function similarity(source, target) {
  const [s, d] = [mean(source), mean(target)];
  let spread = 0, cosine = 0, sine = 0;
  source.forEach(([x, y], i) => {
    const [sx, sy, dx, dy] = [x - s[0], y - s[1], target[i][0] - d[0], target[i][1] - d[1]];
    spread += sx * sx + sy * sy;
    cosine += sx * dx + sy * dy;
    sine += sx * dy - sy * dx;
  });
  if (!(spread > 1e-12)) throw new RangeError("the points of a face coincide or are not finite");
  const [c, n] = [cosine / spread, sine / spread];
  return [c, -n, d[0] - (c * s[0] - n * s[1]), n, c, d[1] - (n * s[0] + c * s[1])];
}

function mean(points) {
  const sum = points.reduce((all, [x, y]) => [all[0] + x, all[1] + y], [0, 0]);
  return [sum[0] / points.length, sum[1] / points.length];
}

/** The inverse of the matrix `m`. */
export function invert([a, b, c, d, e, f]) {
  const det = a * e - b * d;
  const [ia, ib, id, ie] = [e / det, -b / det, -d / det, a / det];
  return [ia, ib, -(ia * c + ib * f), id, ie, -(id * c + ie * f)];
}

/** The point, transformed by `m`. */
export function transform([a, b, c, d, e, f], [x, y]) {
  return [a * x + b * y + c, d * x + e * y + f];
}
