// human: big-Xception on grey 64x64 faces in -1..1; BlazeFace and its face mesh. The WASM build, which needs no native TensorFlow.
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { run, rgb } = require('./protocol.cjs');

const here = (name) => require.resolve(name, { paths: [process.cwd()] });
const file = path.resolve('node_modules/@vladmandic/human/dist/human.node-wasm.js'); // the exports of the package do not contain this build
const { Human } = require(file);
const wasm = require(here('@tensorflow/tfjs-backend-wasm'));

const LABELS = ['angry', 'disgust', 'fear', 'happy', 'sad', 'surprise', 'neutral']; // in the order of its emotion module
const GREY = [0.2989, 0.587, 0.114]; // its weights of red, green and blue

run(async (options) => {
  wasm.setThreadsCount(Number(options.threads));
  const models = await serve(path.join(path.dirname(file), '..', 'models'));
  const off = { enabled: false };
  const human = new Human({
    backend: 'wasm',
    wasmPath: path.dirname(here('@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm')) + path.sep,
    modelBasePath: models,
    debug: false,
    async: false,
    cacheSensitivity: 0, // no caching between photos, because they are unrelated
    filter: off,
    gesture: off,
    face: {
      detector: { maxDetected: 20, skipFrames: 0, skipTime: 0 },
      iris: off,
      description: off,
      emotion: { minConfidence: 0, skipFrames: 0, skipTime: 0 },
    },
    body: off,
    hand: off,
    object: off,
    segmentation: off,
  });
  await human.load();
  const { tf } = human;
  const network = human.models.models.emotion;
  const size = network.inputs[0].shape[2];

  return {
    labels: LABELS,
    // The steps of its emotion module. detect() would first search for a face in the crop.
    async classify(crops) {
      const output = tf.tidy(() => {
        const images = tf.div(tf.stack(crops.map((crop) => tf.cast(rgb(tf, crop), 'float32'))), 255);
        const grey = tf.sum(tf.mul(tf.image.resizeBilinear(images, [size, size], false), GREY), 3, true);
        return network.execute(tf.mul(tf.sub(grey, 0.5), 2));
      });
      const values = Array.from(await output.data());
      output.dispose();
      return crops.map((_, i) => values.slice(7 * i, 7 * i + 7));
    },
    prepare: ({ data, shape }) => tf.tensor3d(Int32Array.from(data), shape, 'int32'),
    analyze: (photo) => human.detect(photo),
    faces: async (photo) =>
      (await human.detect(photo)).face.map(({ box: [x, y, width, height], emotion }) => ({
        box_xyxy: [x, y, x + width, y + height],
        scores: LABELS.map((label) => emotion.find((one) => one.emotion === label)?.score ?? 0),
      })),
  };
});

// human reads its models only over HTTP. This serves them from the folder of the package.
function serve(folder) {
  const server = http.createServer((request, response) => {
    fs.readFile(path.join(folder, path.basename(new URL(request.url, 'http://localhost').pathname)), (error, data) => {
      response.writeHead(error ? 404 : 200);
      response.end(data);
    });
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}/`));
  });
}
