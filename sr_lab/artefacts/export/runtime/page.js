// The page: what is dropped goes to the worker, whose tiles are drawn as they come.
const at = (name) => document.getElementById(name);
const worker = new Worker("worker.js", { type: "module" });
const MOST = 16384;
let scale = 0;
let job = 0;
let waiting = null;

const fail = (text) => {
  at("error").textContent = text;
  at("error").hidden = false;
  at("work").hidden = true;
  if (waiting) waiting.reject(new Error(text));
  waiting = null;
};

const ready = new Promise((resolve, reject) => {
  worker.onerror = (event) => { fail(`the worker failed: ${event.message}`); reject(new Error(event.message)); };
  worker.onmessage = ({ data }) => {
    if (data.kind === "ready") {
      scale = data.scale;
      at("card").textContent = data.card;
      at("state").textContent = `WebAssembly with SIMD, ${data.threads} thread${data.threads > 1 ? "s" : ""}`
        + (data.isolated ? "." : ": the server does not isolate the page (COOP and COEP), so more are not allowed.");
      at("file").disabled = false;
      resolve(data);
    } else if (data.kind === "failed") {
      if (data.job === undefined || data.job === job) fail(data.text);
      if (data.job === undefined) reject(new Error(data.text));
    } else if (data.job === job) received(data);
  };
});
ready.catch(() => {});

let drawing = null;
function received(data) {
  if (data.kind === "begin") {
    for (const name of ["after", "before"]) [at(name).width, at(name).height] = [data.width, data.height];
    drawing = at("after").getContext("2d");
    at("result").hidden = false;
    at("told").textContent = `${data.width} × ${data.height}`;
  } else if (data.kind === "tile") {
    const tile = new ImageData(data.after, data.width, data.height);
    drawing.putImageData(tile, data.left, data.top);
    at("before").getContext("2d").putImageData(new ImageData(data.before, data.width, data.height), data.left, data.top);
    if (waiting) waiting.tiles.push([data.left, data.top, tile]);
    at("progress").value = data.done / data.tiles;
    const seconds = (data.seconds / data.done) * (data.tiles - data.done);
    at("left").textContent = `tile ${data.done} of ${data.tiles}, ${seconds < 1 ? "less than 1" : Math.ceil(seconds)} s left`;
  } else if (data.kind === "end") {
    at("work").hidden = true;
    at("told").textContent += data.cancelled ? ", cancelled" : `, ${data.seconds.toFixed(1)} s`;
    document.title = data.cancelled ? "Cancelled" : "Done";
    at("after").toBlob((blob) => { at("save").href = URL.createObjectURL(blob); });
    if (waiting) waiting.resolve({ ...data, tiles: waiting.tiles });
    waiting = null;
  }
}

// Restores a file; the promise gives {width, height, cancelled, seconds, tiles: [left, top, ImageData]}.
async function restore(file) {
  const mine = ++job;
  if (waiting) {
    worker.postMessage({ kind: "cancel", job: mine - 1 });
    waiting.resolve({ cancelled: true, tiles: waiting.tiles });
    waiting = null;
  }
  await ready;
  at("error").hidden = true;
  let picture;
  try {
    picture = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    fail(`${file.name ?? "this"} is no picture that the browser can read`);
    return null;
  }
  if (mine !== job) return null;
  if (Math.max(picture.width, picture.height) * scale > MOST) {
    fail(`${picture.width} × ${picture.height} pixels: at most ${Math.floor(MOST / scale)} each way fit a browser's canvas; use restore.py`);
    return null;
  }
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, picture.width, picture.height);
  at("work").hidden = false;
  at("progress").value = 0;
  at("left").textContent = "";
  at("save").download = `${(file.name ?? "picture").replace(/\.[^.]*$/, "")}_x${scale}.png`;
  const done = new Promise((resolve, reject) => { waiting = { resolve, reject, tiles: [] }; });
  worker.postMessage({ kind: "restore", job: mine, width: picture.width, height: picture.height, pixels: data }, [data.buffer]);
  return done;
}

// Several pictures, one after the other; each can be saved. Cancelling, or a new choice, ends them all.
let batch = 0;
async function take(files) {
  const mine = ++batch;
  const names = Array.from(files ?? []);
  for (const old of at("saved").querySelectorAll("a")) URL.revokeObjectURL(old.href);
  at("saved").replaceChildren();
  at("saved").hidden = names.length < 2;
  let done = 0;
  for (const file of names) {
    if (mine !== batch) break;
    at("which").textContent = names.length > 1 ? `${file.name}, ${done + 1} of ${names.length}:` : "";
    const found = await restore(file).catch(() => null);
    if (mine !== batch || found?.cancelled) break;
    if (found === null) continue; // it is said; the others are done
    done += 1;
    if (names.length > 1) await keep(file);
  }
  return done;
}

async function keep(file) {
  const blob = await new Promise((resolve) => at("after").toBlob(resolve));
  const link = document.createElement("a");
  link.className = "button";
  link.download = at("save").download;
  link.href = URL.createObjectURL(blob);
  link.textContent = file.name ?? "picture";
  const entry = document.createElement("li");
  entry.append(link);
  at("saved").append(entry);
}

at("file").onchange = (event) => take(event.target.files);
at("cancel").onclick = () => { batch += 1; worker.postMessage({ kind: "cancel", job }); };
for (const kind of ["dragover", "dragenter"]) addEventListener(kind, (event) => { event.preventDefault(); at("drop").classList.add("over"); });
for (const kind of ["dragleave", "drop"]) addEventListener(kind, (event) => { event.preventDefault(); at("drop").classList.remove("over"); });
addEventListener("drop", (event) => take(event.dataTransfer.files));
const slide = (share) => { at("view").style.setProperty("--at", `${share}%`); at("slider").value = share; };
at("slider").oninput = (event) => slide(event.target.value);
at("view").onpointermove = (event) => {
  if (event.pointerType !== "mouse" && !event.buttons) return;
  const box = at("view").getBoundingClientRect();
  slide(Math.min(100, Math.max(0, (100 * (event.clientX - box.left)) / box.width)));
};
globalThis.srlab = { ready, restore, take };
