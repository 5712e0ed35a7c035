// Colours and wording of the labels, the same as in mien/draw.py and mien/wording.py.

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

/** The CSS colour of a label; labels of other data sets use the palette in order. */
export function colourOf(label, labels) {
  const palette = Object.values(COLOURS);
  const [r, g, b] = COLOURS[label] ?? palette[labels.indexOf(label) % palette.length];
  return `rgb(${r} ${g} ${b})`;
}

/** The probabilities that are shown: the smoothed ones if there are any. */
export function emotionsOf(face) {
  return face.smoothed ?? face.emotions;
}

/** [label, probability] pairs, most probable first. */
export function ranked(face) {
  return Object.entries(emotionsOf(face)).sort((a, b) => b[1] - a[1]);
}

/** The answer in words: the label, or "not sure" with two labels. */
export function inWords(face) {
  const [first, second] = ranked(face);
  return face.uncertain ? `not sure (${first[0]} or ${second[0]})` : first[0];
}

/** The number of a face: its track id, or its position in the list. */
export function numberOf(face, index) {
  return face.track_id ?? index + 1;
}

/** All faces in one sentence, for people who cannot see the picture. */
export function describe(faces) {
  if (!faces.length) return "No face found.";
  const answer = (face) => `${inWords(face)}, ${ranked(face)[0][1].toFixed(2)}`;
  if (faces.length === 1) return `One face: ${answer(faces[0])}.`;
  return `${faces.length} faces. ${faces.map((face, i) => `${numberOf(face, i)}: ${answer(face)}`).join("; ")}.`;
}
