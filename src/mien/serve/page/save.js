// Files to download; the columns are the same as those of `mien analyze --format csv`.

const POINTS = ["left_eye", "right_eye", "nose", "mouth_left", "mouth_right"];

/** Download a file in the browser. */
export function download(content, name, type) {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = document.createElement("a");
  Object.assign(link, { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** A canvas as a file. */
export function downloadCanvas(canvas, name, type = "image/png") {
  return new Promise((resolve) => canvas.toBlob((blob) => resolve(download(blob, name)), type, 0.92));
}

/** A file name with today's date and time in it. */
export function stamped(stem, ending) {
  const now = new Date();
  const two = (n) => String(n).padStart(2, "0");
  const day = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
  return `${stem}-${day}-${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}.${ending}`;
}

/** Records (FrameResults) as CSV: one row per face, and one row for a frame without faces. */
export function toCsv(records, labels) {
  const columns = csvColumns(labels);
  const rows = records.flatMap(flatRows).map((row) => columns.map((name) => quote(row[name])).join(","));
  return [columns.join(","), ...rows, ""].join("\n");
}

export function csvColumns(labels) {
  const head = ["schema", "source", "frame_index", "time_s", "width", "height", "face_count", "face_index", "x0", "y0", "x1", "y1", "score"];
  const points = POINTS.flatMap((name) => [`${name}_x`, `${name}_y`]);
  const smoothed = labels.map((label) => `smoothed_${label}`);
  return [...head, ...points, ...labels, "top", "confidence", "uncertain", "track_id", ...smoothed, "model_name", "model_version", "notes", "error_code", "error_message"];
}

function flatRows(record) {
  const { schema, source, frame_index, time_s } = record;
  if (record.error) return [{ schema, source, frame_index, time_s, error_code: record.error.code, error_message: record.error.message }];
  const { width, height, faces, model, notes } = record;
  const frame = { schema, source, frame_index, time_s, width, height, face_count: faces.length, model_name: model.name, model_version: model.version, notes: notes.join("; ") };
  if (!faces.length) return [frame];
  return faces.map((face, face_index) => {
    const [x0, y0, x1, y1] = face.box_xyxy;
    const points = Object.fromEntries(face.landmarks.flatMap(([x, y], i) => [[`${POINTS[i]}_x`, x], [`${POINTS[i]}_y`, y]]));
    const smoothed = Object.fromEntries(Object.entries(face.smoothed ?? {}).map(([label, p]) => [`smoothed_${label}`, p]));
    const { score, top, confidence, track_id, emotions } = face;
    return { ...frame, face_index, x0, y0, x1, y1, score, ...points, ...emotions, top, confidence, uncertain: face.uncertain ? "True" : "False", track_id, ...smoothed };
  });
}

function quote(value) {
  if (value === undefined || value === null) return "";
  const text = String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
