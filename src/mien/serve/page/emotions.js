// Colours and words of the labels: mien/draw.py's and mien/wording.py's.

export const COLOURS = {
  angry: [230, 75, 53],
  disgust: [120, 170, 60],
  fear: [180, 120, 220],
  happy: [245, 200, 50],
  neutral: [200, 200, 200],
  sad: [80, 150, 235],
  surprise: [245, 145, 60],
  contempt: [50, 185, 170],
};

/** The CSS colour that stands for a label; labels of other data sets take the palette in their order. */
export function colourOf(label, labels) {
  const palette = Object.values(COLOURS);
  const [r, g, b] = COLOURS[label] ?? palette[labels.indexOf(label) % palette.length];
  return `rgb(${r} ${g} ${b})`;
}

/** What counts for a person: the smoothed probabilities where there are any. */
export function emotionsOf(face) {
  return face.smoothed ?? face.emotions;
}

/** [label, probability] pairs, the most probable first. */
export function ranked(face) {
  return Object.entries(emotionsOf(face)).sort((a, b) => b[1] - a[1]);
}

/** The answer as a person would say it: the label, or that it is not sure. */
export function inWords(face) {
  const [first, second] = ranked(face);
  return face.uncertain ? `not sure (${first[0]} or ${second[0]})` : first[0];
}

/** The number by which a face is called: its track id, or its place in the picture. */
export function numberOf(face, index) {
  return face.track_id ?? index + 1;
}

/** Everybody in one sentence, for those who cannot see the picture. */
export function describe(faces) {
  if (!faces.length) return "No face found.";
  const answer = (face) => `${inWords(face)}, ${ranked(face)[0][1].toFixed(2)}`;
  if (faces.length === 1) return `One face: ${answer(faces[0])}.`;
  return `${faces.length} faces. ${faces.map((face, i) => `${numberOf(face, i)}: ${answer(face)}`).join("; ")}.`;
}
