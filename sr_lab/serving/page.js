// The page: what is dropped is restored here, where the server has a model for browsers, and by the server, whose tiles
// take the place of those made here, and whose file in the end takes the place of all of them.
const at = (id) => document.getElementById(id);
const facts = JSON.parse(at("facts").textContent);
const MOST = 16384;
let turn = 0;
let urls = [];

const headers = () => (at("key").value ? { "X-API-Key": at("key").value } : {});
const say = (text) => { at("state").textContent = text; };
const address = (blob) => { urls.push(URL.createObjectURL(blob)); return urls.at(-1); };

// The model in this browser: tiles of a picture, one after the other, in a worker.
const edge = facts.edge && (() => {
  const worker = new Worker("edge/page/worker.js", { type: "module" });
  let job = 0;
  let now = null;
  let loaded;
  const ready = new Promise((resolve) => { loaded = resolve; });
  const end = (whole) => { now?.resolve(whole); now = null; };
  worker.onerror = () => { loaded(false); end(false); };
  worker.onmessage = ({ data }) => {
    if (data.kind === "ready") loaded(true);
    else if (data.kind === "failed" && data.job === undefined) loaded(false);
    else if (now === null || data.job !== job) return;
    else if (data.kind === "tile") now.tile(data);
    else if (data.kind === "end") end(!data.cancelled);
    else if (data.kind === "failed") end(false);
  };
  const stop = () => { worker.postMessage({ kind: "cancel", job }); end(false); };
  // Whether all of it was restored: not where the model cannot be loaded, or where `stop` or another picture ends it.
  const restore = async (pixels, width, height, tile) => {
    stop();
    const mine = ++job;
    const done = new Promise((resolve) => { now = { resolve, tile }; });
    if (!(await ready)) end(false);
    else if (mine === job && now !== null) worker.postMessage({ kind: "restore", job, width, height, pixels }, [pixels.buffer]);
    return done;
  };
  return { restore, stop };
})();

// The parts of a multipart/mixed answer, each with its Content-Length.
async function* parts(answer) {
  const reader = answer.body.getReader();
  let held = new Uint8Array(0);
  const take = async (count) => {
    const chunks = [held];
    for (let size = held.length; size < count;) {
      const { value, done } = await reader.read();
      if (done) throw new Error("the answer broke off");
      chunks.push(value);
      size += value.length;
    }
    const all = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.length, 0));
    chunks.reduce((place, chunk) => { all.set(chunk, place); return place + chunk.length; }, 0);
    held = all.subarray(count);
    return all.subarray(0, count);
  };
  for (;;) {
    let head = "";
    while (!head.endsWith("\r\n\r\n")) {
      if (head.startsWith("--") && head.endsWith("--\r\n") && head.length > 6) return;
      head += String.fromCharCode((await take(1))[0]);
    }
    const told = new Map(head.split("\r\n").filter((line) => line.includes(": ")).map((line) => {
      const [name, ...value] = line.split(": ");
      return [name.toLowerCase(), value.join(": ")];
    }));
    const body = await take(Number(told.get("content-length")));
    yield { told, blob: new Blob([body], { type: told.get("content-type") }) };
    await take(2);
  }
}

const refusal = async (blob, status) => {
  let detail = "no reason";
  try { const told = JSON.parse(await blob.text()); detail = told.detail; status = told.status; } catch { /* no problem+json */ }
  return { refused: `Refused (${status}): ${detail}` };
};

// What the server answers; `tile(blob, left, top, width, height, whole)` is told each tile as it comes.
async function ask(file, tile) {
  const query = new URLSearchParams({ model: at("model").value, tier: at("tier").value });
  try {
    const answer = await fetch(`v1/restore/tiles?${query}`, {
      method: "POST", body: file, headers: { ...headers(), "Accept": "multipart/mixed, image/png" },
    });
    if (!answer.ok) return await refusal(await answer.blob(), answer.status);
    for await (const { told, blob } of parts(answer)) {
      if (told.has("x-tile")) await tile(blob, ...told.get("x-tile").split(",").map(Number), told.get("x-size").split(",").map(Number));
      else if (blob.type === "application/problem+json") return await refusal(blob, 500);
      else return { told, blob };
    }
    return { refused: "The server's answer broke off." };
  } catch { return { refused: "The server does not answer." }; }
}

function slide() {
  const part = at("slider").value;
  at("before").style.clipPath = `inset(0 ${100 - part}% 0 0)`;
  at("bar").style.left = `${part}%`;
}

function show(width, height) {
  if (at("edge").width === width && at("edge").height === height && !at("stage").hidden) return;
  for (const canvas of [at("edge"), at("server")]) { canvas.width = width; canvas.height = height; }
  at("stage").hidden = at("slider").hidden = false;
  slide();
}

async function restore(file) {
  const mine = ++turn;
  urls.forEach(URL.revokeObjectURL);
  urls = [];
  edge?.stop();
  at("before").removeAttribute("src");
  say("Restoring ...");
  at("share").textContent = "";
  at("stage").hidden = at("slider").hidden = at("save").hidden = at("after").hidden = true;
  const count = { here: 0, there: 0 };
  const told = () => {
    const parts = [count.here && `on this device ${count.here}%`, count.there && `by the server ${count.there}%`];
    at("share").textContent = parts.filter(Boolean).join(", ");
  };
  let covered = 0;
  const there = ask(file, async (blob, left, top, width, height, whole) => {
    if (mine !== turn) return;
    const tile = await createImageBitmap(blob);
    show(...whole);
    at("server").getContext("2d").drawImage(tile, left, top);
    covered += width * height;
    count.there = Math.floor((100 * covered) / (whole[0] * whole[1]));
    told();
  });
  const here = enlarge(file, mine, (share) => { count.here = Math.floor(100 * share); told(); });
  const answer = await there;
  if (mine !== turn) return;
  if (answer.refused) {
    const made = await here;
    if (mine !== turn) return;
    if (!made) { say(answer.refused); at("share").textContent = ""; return; }
    const blob = await new Promise((resolve) => at("edge").toBlob(resolve));
    at("save").href = address(blob);
    at("save").hidden = false;
    say(`${answer.refused} What you see was restored on this device: ${facts.edge.card}`);
    return;
  }
  edge?.stop();
  at("before").src ||= address(file);
  at("after").src = at("save").href = address(answer.blob);
  await at("after").decode();
  const [width, height] = [at("after").naturalWidth, at("after").naturalHeight];
  show(width, height);
  at("after").hidden = at("save").hidden = false;
  at("share").textContent = "";
  const guard = answer.told.get("x-guard");
  say(`${width}x${height} pixels in ${(+answer.told.get("x-seconds")).toFixed(2)} s by ${answer.told.get("x-model")}, version ${answer.told.get("x-model-version")} (tier ${answer.told.get("x-tier")}); made small again it is the input to ${answer.told.get("x-lr-consistency")}${guard ? `; guard: ${guard}` : ""}`);
}

// Shows the picture, and restores it by this browser's model where that enlarges as the server's does; whether it has.
async function enlarge(file, mine, share) {
  const picture = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" }).catch(() => null);
  const scale = facts.models[at("model").value]?.scale;
  if (picture === null || mine !== turn) return false;
  const [width, height] = [picture.width * scale, picture.height * scale];
  if (Math.max(width, height) > MOST) return false;
  at("before").src = address(file);
  if (facts.edge?.scale !== scale) return false;
  show(width, height);
  const canvas = at("edge").getContext("2d");
  canvas.drawImage(picture, 0, 0, width, height); // until it is restored
  const pen = new OffscreenCanvas(picture.width, picture.height).getContext("2d", { willReadFrequently: true });
  pen.drawImage(picture, 0, 0);
  const { data } = pen.getImageData(0, 0, picture.width, picture.height);
  return edge.restore(data, picture.width, picture.height, (tile) => {
    canvas.putImageData(new ImageData(tile.after, tile.width, tile.height), tile.left, tile.top);
    share(tile.done / tile.tiles);
  });
}

async function told() {
  const name = at("model").value;
  const text = facts.models[name].warning;
  at("warning").hidden = !text;
  at("text").textContent = text;
  at("card").textContent = "";
  if (!text) return;
  const answer = await fetch(`v1/models/${encodeURIComponent(name)}/card`, { headers: headers() });
  at("card").textContent = answer.ok ? await answer.text() : "This model has no card.";
}

at("slider").addEventListener("input", slide);
at("model").addEventListener("change", told);
at("drop").addEventListener("click", () => at("file").click());
at("drop").addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") at("file").click(); });
at("file").addEventListener("change", () => { if (at("file").files[0]) restore(at("file").files[0]); });
at("drop").addEventListener("dragover", (event) => { event.preventDefault(); at("drop").classList.add("over"); });
at("drop").addEventListener("dragleave", () => at("drop").classList.remove("over"));
at("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  if (event.dataTransfer.files[0]) restore(event.dataTransfer.files[0]);
});
told();
globalThis.srlab = { restore, slide, told };
