// face-api: a depthwise network on RGB 112x112 faces; SSD MobileNet. The WASM build, which needs no native TensorFlow.
const path = require('node:path');
const { run, rgb } = require('./protocol.cjs');

const here = (name) => require.resolve(name, { paths: [process.cwd()] });
const tf = require(here('@tensorflow/tfjs'));
const wasm = require(here('@tensorflow/tfjs-backend-wasm'));
const file = here('@vladmandic/face-api/dist/face-api.node-wasm.js');
const faceapi = require(file);

const GREY = 120;
const WORDS = { fearful: 'fear', disgusted: 'disgust', surprised: 'surprise' };

run(async (options) => {
  wasm.setThreadsCount(Number(options.threads));
  wasm.setWasmPaths(path.dirname(here('@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm')) + path.sep);
  await tf.setBackend('wasm');
  await tf.ready();
  const models = path.join(path.dirname(file), '..', 'model');
  await faceapi.nets.ssdMobilenetv1.loadFromDisk(models);
  await faceapi.nets.faceExpressionNet.loadFromDisk(models);
  const names = Object.keys(new faceapi.FaceExpressions(new Array(7).fill(0)));
  const margin = Number(options.margin ?? 0); // of grey on each side, as a share of the photo's longer side
  const analyze = (photo) => faceapi.detectAllFaces(photo, new faceapi.SsdMobilenetv1Options()).withFaceExpressions();

  return {
    labels: names.map((name) => WORDS[name] ?? name),
    async classify(crops) {
      const tensors = crops.map((crop) => rgb(faceapi.tf, crop));
      const answers = await faceapi.nets.faceExpressionNet.predictExpressions(tensors);
      faceapi.tf.dispose(tensors);
      return [answers].flat().map((answer) => names.map((name) => answer[name]));
    },
    prepare({ data, shape }) {
      const photo = faceapi.tf.tensor3d(Int32Array.from(data), shape, 'int32');
      const around = Math.round(margin * Math.max(shape[0], shape[1]));
      if (!around) return photo;
      const sides = [[around, around], [around, around], [0, 0]];
      const wider = faceapi.tf.pad(photo, sides, GREY);
      photo.dispose();
      return wider;
    },
    analyze,
    faces: async (photo) =>
      (await analyze(photo)).map(({ detection: { box }, expressions }) => ({
        box_xyxy: [box.left, box.top, box.right, box.bottom],
        scores: names.map((name) => expressions[name]),
      })),
  };
});
