// The same as protocol.py in JavaScript, for peers from npm. Run `node with_NAME.cjs JOB.json` in the folder that holds node_modules.
const fs = require('node:fs');
const path = require('node:path');

const CHUNK = 32;
const WARM_UP = 2;
const LEAST_REPEATS = 5;

async function run(load) {
  const job = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
  const peer = await load(job.options);
  const answer = await { predict, look, time: timings, memory }[job.task](peer, job);
  fs.writeFileSync(path.join(job.out, 'result.json'), JSON.stringify(answer));
  process.exit(0);
}

async function predict(peer, job) {
  const crops = items(job.crops);
  const scores = [];
  for (let i = 0; i < crops.length; i += CHUNK) scores.push(...(await peer.classify(crops.slice(i, i + CHUNK))));
  fs.writeFileSync(path.join(job.out, 'scores.f32'), Buffer.from(Float32Array.from(scores.flat()).buffer));
  const answer = { labels: peer.labels, gives_probabilities: true };
  for (const name of ['photos', 'scenes']) {
    answer[name] = [];
    for (const frame of items(job[name])) answer[name].push(await onPhoto(peer, frame, peer.faces));
  }
  return answer;
}

async function look(peer, job) {
  const { file, shapes } = job.whole_photos;
  const source = fs.openSync(file);
  const whole_photos = [];
  for (const shape of shapes) {
    const data = Buffer.alloc(shape.reduce((a, b) => a * b, 1));
    fs.readSync(source, data);
    try {
      whole_photos.push(await onPhoto(peer, { data, shape }, peer.faces));
    } catch (error) {
      whole_photos.push(String(error));
    }
  }
  return { labels: peer.labels, whole_photos };
}

async function timings(peer, job) {
  const crops = items(job.crops);
  const face_ms = {};
  for (const size of job.batches.filter((n) => n <= crops.length)) {
    face_ms[size] = (await median_ms(() => peer.classify(crops.slice(0, size)), job.seconds)) / size;
  }
  const photo_ms = [];
  for (const frame of items(job.photos)) {
    photo_ms.push(await onPhoto(peer, frame, (photo) => median_ms(() => peer.analyze(photo), job.seconds)));
  }
  return { face_ms, photo_ms };
}

async function memory(peer, job) {
  await peer.classify(items(job.crops).slice(0, 1));
  for (const frame of items(job.photos)) await onPhoto(peer, frame, peer.analyze);
  const kilobytes = /^VmHWM:\s+(\d+)/m.exec(fs.readFileSync('/proc/self/status', 'ascii'))[1]; // resourceUsage would start with the parent's
  return { peak_mb: (kilobytes * 1024) / 1e6 };
}

async function median_ms(work, seconds) {
  for (let i = 0; i < WARM_UP; i++) await work();
  const times = [];
  let sum = 0;
  while (times.length < LEAST_REPEATS || sum < 1000 * seconds) {
    const began = performance.now();
    await work();
    times.push(performance.now() - began);
    sum += times.at(-1);
  }
  times.sort((a, b) => a - b);
  const middle = times.length >> 1;
  return times.length % 2 ? times[middle] : (times[middle - 1] + times[middle]) / 2;
}

async function onPhoto(peer, frame, work) {
  const photo = peer.prepare(frame);
  const answer = await work(photo);
  photo.dispose();
  return answer;
}

// Returns the images of a raw uint8 file, each as {data, shape}.
function items({ file, shape: [count, ...shape] }) {
  const bytes = fs.readFileSync(file);
  const size = shape.reduce((a, b) => a * b, 1);
  return Array.from({ length: count }, (_, i) => ({ data: bytes.subarray(i * size, (i + 1) * size), shape }));
}

// Returns a grey image as an RGB tensor (H, W, 3), int32 in 0..255, because these peers expect colour.
function rgb(tf, { data, shape: [height, width] }) {
  const values = new Int32Array(3 * data.length);
  for (let i = 0; i < data.length; i++) values.fill(data[i], 3 * i, 3 * i + 3);
  return tf.tensor3d(values, [height, width, 3], 'int32');
}

module.exports = { run, rgb };
