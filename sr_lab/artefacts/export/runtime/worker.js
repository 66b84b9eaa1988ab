// The worker: windows of one shape, each restored by the graph and cut to its core, as restore.py does it.
import * as ort from "./ort/ort.wasm.bundle.min.mjs";

const CORE = 64;
const BICUBIC_HALO = 4;
let manifest;
let session;
let cancelled = 0;

const load = async () => {
  const isolated = globalThis.crossOriginIsolated === true;
  ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
  ort.env.wasm.numThreads = isolated ? Math.min(8, navigator.hardwareConcurrency || 1) : 1;
  const fetched = async (name) => {
    const answer = await fetch(new URL(`../${name}`, import.meta.url));
    if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
    return answer;
  };
  manifest = await (await fetched("manifest.json")).json();
  session = await ort.InferenceSession.create(new Uint8Array(await (await fetched("model.onnx")).arrayBuffer()), {
    executionProviders: ["wasm"],
  });
  postMessage({ kind: "ready", scale: manifest.scale, card: manifest.card, threads: ort.env.wasm.numThreads, isolated });
};

const axis = (length, window, halo) => {
  const last = Math.max(0, length - window);
  const starts = [];
  for (let start = 0; start < last; start += Math.max(1, window - 2 * halo)) starts.push(start);
  starts.push(last);
  return starts.map((start, index) => ({
    start,
    from: index ? starts[index - 1] + window - halo : 0,
    to: index < starts.length - 1 ? start + window - halo : length,
  }));
};

const mirrored = (index, length) => {
  if (length === 1) return 0;
  const inside = index % (2 * length - 2);
  return Math.min(inside, 2 * length - 2 - inside);
};

// MATLAB's cubic weights: for each of `scale` phases the four taps around it, from the pixel `first` on.
const phases = (scale) => Array.from({ length: scale }, (_, phase) => {
  const centre = (phase + 0.5) / scale - 0.5;
  const first = Math.floor(centre - 1);
  const taps = [0, 1, 2, 3].map((tap) => {
    const away = Math.abs(centre - first - tap);
    if (away <= 1) return (1.5 * away - 2.5) * away * away + 1;
    return away <= 2 ? ((-0.5 * away + 2.5) * away - 4) * away + 2 : 0;
  });
  const sum = taps.reduce((a, b) => a + b);
  return { first, taps: taps.map((tap) => Math.fround(tap / sum)) };
});

// Plane (tall x wide) enlarged along one axis after the other; borders are mirrored with the edge repeated.
const bicubic = (plane, tall, wide, scale) => {
  const cubic = phases(scale);
  const at = (index, length) => { const i = ((index % (2 * length)) + 2 * length) % (2 * length); return Math.min(i, 2 * length - 1 - i); };
  const high = new Float32Array(tall * scale * wide);
  for (let y = 0; y < tall * scale; y++) {
    const { first, taps } = cubic[y % scale];
    const rows = taps.map((_, tap) => at(Math.floor(y / scale) + first + tap, tall) * wide);
    for (let x = 0; x < wide; x++) high[y * wide + x] = taps[0] * plane[rows[0] + x] + taps[1] * plane[rows[1] + x] + taps[2] * plane[rows[2] + x] + taps[3] * plane[rows[3] + x];
  }
  const large = new Float32Array(tall * scale * wide * scale);
  for (let x = 0; x < wide * scale; x++) {
    const { first, taps } = cubic[x % scale];
    const columns = taps.map((_, tap) => at(Math.floor(x / scale) + first + tap, wide));
    for (let y = 0; y < tall * scale; y++) large[y * wide * scale + x] = taps[0] * high[y * wide + columns[0]] + taps[1] * high[y * wide + columns[1]] + taps[2] * high[y * wide + columns[2]] + taps[3] * high[y * wide + columns[3]];
  }
  return large;
};

const WEIGHTS = [65.481 / 255, 128.553 / 255, 24.966 / 255];
const luma = (planes) => planes[0].map((red, i) => red * WEIGHTS[0] + planes[1][i] * WEIGHTS[1] + planes[2][i] * WEIGHTS[2] + 16 / 255);

const restore = async ({ job, width, height, pixels }) => {
  const begun = performance.now();
  const { scale, channels } = manifest;
  const whole = manifest.size ? manifest.size[0] : CORE + 2 * Math.max(manifest.halo, BICUBIC_HALO);
  const fits = width <= whole && height <= whole;
  const halo = fits ? 0 : Math.max(manifest.halo, BICUBIC_HALO);
  const [tall, wide] = manifest.size ?? [Math.min(whole, height), Math.min(whole, width)];
  const tiles = axis(height, tall, halo).flatMap((row) => axis(width, wide, halo).map((column) => [row, column]));
  let opaque = true;
  for (let i = 3; i < pixels.length; i += 4) if (pixels[i] !== 255) { opaque = false; break; }
  postMessage({ kind: "begin", job, width: width * scale, height: height * scale });
  let done = 0;
  for (const [row, column] of tiles) {
    await new Promise((resolve) => setTimeout(resolve)); // lets a cancellation in
    if (cancelled >= job) break;
    const planes = [0, 1, 2, 3].map(() => new Float32Array(tall * wide));
    for (let y = 0; y < tall; y++) {
      const from = mirrored(row.start + y, height) * width;
      for (let x = 0; x < wide; x++) {
        const pixel = 4 * (from + mirrored(column.start + x, width));
        for (let channel = 0; channel < 4; channel++) planes[channel][y * wide + x] = pixels[pixel + channel] / 255;
      }
    }
    const size = tall * wide;
    const low = new Float32Array(channels * size);
    if (channels === 1) low.set(luma(planes));
    else for (let channel = 0; channel < 3; channel++) low.set(planes[channel], channel * size);
    const run = await session.run({ low: new ort.Tensor("float32", low, [1, channels, tall, wide]) });
    const output = run.restored.data;
    const enlarged = planes.slice(0, opaque ? 3 : 4).map((plane) => bicubic(plane, tall, wide, scale));
    const area = size * scale * scale;
    let restored;
    if (channels === 1) {
      const base = luma(enlarged);
      const gain = base.map((value, i) => (output[i] - value) * (255 / 219));
      restored = enlarged.slice(0, 3).map((plane) => plane.map((value, i) => value + gain[i]));
    } else restored = [0, 1, 2].map((channel) => output.subarray(channel * area, (channel + 1) * area));
    const box = { left: column.from * scale, top: row.from * scale, width: (column.to - column.from) * scale, height: (row.to - row.from) * scale };
    const images = [restored, enlarged].map((from) => {
      const image = new Uint8ClampedArray(4 * box.width * box.height);
      for (let y = 0; y < box.height; y++) for (let x = 0; x < box.width; x++) {
        const here = (box.top - row.start * scale + y) * wide * scale + box.left - column.start * scale + x;
        const there = 4 * (y * box.width + x);
        for (let channel = 0; channel < 3; channel++) image[there + channel] = Math.floor(Math.min(255, Math.max(0, from[channel][here] * 255)) + 0.5);
        image[there + 3] = opaque ? 255 : Math.floor(Math.min(255, Math.max(0, enlarged[3][here] * 255)) + 0.5);
      }
      return image;
    });
    run.restored.dispose?.();
    done += 1;
    const seconds = (performance.now() - begun) / 1000;
    postMessage({ kind: "tile", job, ...box, after: images[0], before: images[1], done, tiles: tiles.length, seconds }, images.map((image) => image.buffer));
  }
  postMessage({ kind: "end", job, width: width * scale, height: height * scale, cancelled: done < tiles.length, seconds: (performance.now() - begun) / 1000 });
};

let last = Promise.resolve();
onmessage = ({ data }) => {
  if (data.kind === "cancel") { cancelled = Math.max(cancelled, data.job); return; }
  last = last.then(() => restore(data)).catch((error) => postMessage({ kind: "failed", job: data.job, text: String(error.message ?? error) }));
};
load().catch((error) => postMessage({ kind: "failed", text: `the model could not be loaded: ${error.message ?? error}` }));
