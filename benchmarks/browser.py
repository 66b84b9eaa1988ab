r"""The page of a bundle beside UpscalerJS's esrgan-slim, in headless Chromium, on the same pictures: time and PSNR.

    npm install --prefix web onnxruntime-web upscaler @upscalerjs/esrgan-slim \
        @tensorflow/tfjs @tensorflow/tfjs-backend-wasm@4.11.0
    python benchmarks/browser.py web ../shared/datasets/benchmark/Set5/x4

Each contender has a page of its own, served with the headers that allow threads, and restores the first picture twice
before the clock counts. UpscalerJS runs as its readme says: whole pictures and patches of 64 pixels that overlap by 4,
with TensorFlow.js's own choice of a backend (WebGL, which is software where there is no GPU), and with its WebAssembly,
which is what our page has. Decoding, the canvas and reading its pixels back count for neither. PSNR: luma, a border of
4 pixels left out (y_crop). The folder holds LR and HR.
"""

import argparse
import base64
import contextlib
import functools
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

THEIRS = """<!doctype html><script src="/node_modules/@tensorflow/tfjs/dist/tf.min.js"></script>
<script src="/node_modules/@tensorflow/tfjs-backend-wasm/dist/tf-backend-wasm.min.js"></script>
<script src="/node_modules/upscaler/dist/browser/umd/upscaler.min.js"></script>
<script src="/node_modules/@upscalerjs/esrgan-slim/dist/umd/models/esrgan-slim/src/x4/index.min.js"></script>"""
FOUND = """
(async () => {
  const bytes = Uint8Array.from(atob("%s"), (letter) => letter.charCodeAt(0));
  %s
  let text = "";
  for (let at = 0; at < data.length; at += 32768) text += String.fromCharCode(...data.subarray(at, at + 32768));
  return [seconds, width, height, btoa(text), told];
})()
"""
OURS = """
  const found = await srlab.restore(new File([bytes], "photo.png", { type: "image/png" }));
  const canvas = document.getElementById("after"), { width, height } = canvas, seconds = found.seconds;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const told = document.getElementById("state").textContent;
"""
RIVAL = """
  const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }), { colorSpaceConversion: "none" });
  if (!globalThis.upscaler) {
    %s
    await tf.ready();
    const path = "/node_modules/@upscalerjs/esrgan-slim/models/x4/model.json";
    globalThis.upscaler = new Upscaler({ model: { ...ESRGANSlim4x, path } });
  }
  const low = tf.browser.fromPixels(image);
  await upscaler.ready;
  const begin = performance.now();
  const high = await upscaler.execute(low, { output: "tensor"%s });
  const values = await high.data();
  const seconds = (performance.now() - begin) / 1000, [height, width] = high.shape;
  const data = new Uint8Array(4 * width * height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) data[4 * i + c] = Math.max(0, Math.min(255, Math.round(values[3 * i + c])));
  }
  const told = `TensorFlow.js ${tf.version.tfjs}, backend ${tf.getBackend()}`;
"""
WASM = 'tf.wasm.setWasmPaths("/node_modules/@tensorflow/tfjs-backend-wasm/dist/"); await tf.setBackend("wasm");'
PATCHES = ", patchSize: 64, padding: 4"


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, isolated, so that threads are allowed."""

    class Isolated(SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    Isolated.extensions_map = {**Isolated.extensions_map, ".mjs": "text/javascript", ".wasm": "application/wasm"}
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Isolated, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def psnr(restored: Any, high: Any) -> float:
    """On luma, with 4 pixels of border left out."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    error = ((restored.astype(float) - high) @ weights)[4:-4, 4:-4]
    return float(10 * np.log10(255**2 / np.square(error).mean()))


def contend(place: str, page: str, code: str, pairs: list[tuple[Path, Path]]) -> dict[str, Any]:
    """Seconds and PSNR of each picture."""
    import browser

    from sr_lab.images import read_image

    seconds, scores, pixels, told = [], [], [], ""
    with tempfile.TemporaryDirectory() as profile, browser.browser(Path(profile)) as window:
        window.open(f"{place}/{page}")
        for number, (low, high) in enumerate([pairs[0], pairs[0], *pairs]):
            text = base64.b64encode(low.read_bytes()).decode()
            took, width, height, found, told = window.evaluate(FOUND % (text, code))
            if number < 2:
                continue
            image = np.frombuffer(base64.b64decode(found), np.uint8).reshape(height, width, 4)[..., :3]
            target = read_image(high)
            scores.append(psnr(image[: target.shape[0], : target.shape[1]], target))
            seconds.append(took)
            pixels.append(width * height / 1e6)
    return {"seconds": sum(seconds), "megapixels": sum(pixels), "psnr": float(np.mean(scores)), "told": told}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("web", type=Path, help="where npm installed the packages")
    parser.add_argument("pictures", type=Path, help="folder with LR and HR, for x4")
    asked = parser.parse_args()
    from sr_lab.workflows.export import export

    pairs = [(file, asked.pictures / "HR" / file.name) for file in sorted((asked.pictures / "LR").iterdir())]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        export("edge_x4", root / "bundle", target="bundle", web=asked.web, num_runs=3)
        (root / "node_modules").symlink_to((asked.web / "node_modules").resolve())
        (root / "theirs.html").write_text(THEIRS, encoding="utf-8")
        rivals = {
            "our page, edge_x4": ("bundle/page/index.html", OURS),
            "UpscalerJS, WebAssembly": ("theirs.html", RIVAL % (WASM, "")),
            "UpscalerJS, WebAssembly, patches": ("theirs.html", RIVAL % (WASM, PATCHES)),
            "UpscalerJS, its choice": ("theirs.html", RIVAL % ("", "")),
        }
        with served(root) as place:
            for name, (page, code) in rivals.items():
                try:
                    found = contend(place, page, code, pairs)
                except RuntimeError as error:
                    print(f"{name}: not run: {str(error)[:300]}", flush=True)
                    continue
                each = found["seconds"] / found["megapixels"]
                print(
                    f"{name}: {found['psnr']:.2f} dB, {each:.2f} s a megapixel of the result ({found['told']})",
                    flush=True,
                )
        theirs = (asked.web / "node_modules/@upscalerjs/esrgan-slim/models/x4").iterdir()
        ours = (root / "bundle/model.onnx").stat().st_size
        print(f"bytes of the model: ours {ours}, esrgan-slim {sum(file.stat().st_size for file in theirs)}")


if __name__ == "__main__":
    main()
