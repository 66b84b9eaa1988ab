"""Restores images by the graph that lies beside this file: with numpy, onnxruntime, and Pillow or OpenCV.

    python restore.py photo.jpg large.png
    python restore.py --serve 8080          # POST an image to /; GET / is the page, where there is one

``handler(event, context)`` is the function of a serverless platform: an image in the body (base64), or the addresses
``input_url`` and ``output_url`` of an object store whose host stands in RESTORE_HOSTS. This file was written by srlab
export, from which it needs nothing.
"""

import argparse
import base64
import hashlib
import io
import json
import os
import signal
import sys
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from sr_lab.images.consistent import project, projection_halo
from sr_lab.images.plain import as_float, as_levels, bicubic, by_channels

HERE = Path(__file__).resolve().parent
BODY_LIMIT = 6 * 1024 * 1024
"""Bytes of a buffered answer of AWS Lambda, base64 and JSON included."""
UPLOAD_LIMIT = 32 * 1024 * 1024
"""Bytes of a request to Cloud Run on HTTP/1."""
MAX_PIXELS = int(os.environ.get("RESTORE_MAX_PIXELS", 50_000_000))
RESERVE = 2.0
"""Seconds of a time budget that are kept for writing."""
BICUBIC_HALO = 4


class Refused(ValueError):
    """An image or a request that is not answered, and the status that says so."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class Restorer:
    """The graph of a bundle, with its tiles and channels.

    Args:
        folder: of the bundle.
        threads: cores to use; None for all.
        tile: side of a window in low-resolution pixels.
        consistency: ``exact``: the image is projected so that, shrunk again by bicubic interpolation, it is its input.
    """

    def __init__(
        self,
        folder: Path = HERE,
        *,
        threads: int | None = None,
        tile: int | None = None,
        consistency: str | None = None,
    ) -> None:
        if consistency not in (None, "", "exact"):
            raise Refused(f"consistency={consistency}: exact, or nothing")
        import onnxruntime

        self.manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.scale, self.channels = int(self.manifest["scale"]), int(self.manifest["channels"])
        self.halo = int(self.manifest["halo"])
        size = self.manifest.get("size")
        self.fixed = tuple(size) if size else None
        self.consistent = consistency == "exact"
        if self.consistent and size:
            raise Refused("consistency=exact needs a bundle of any size, and this one is of a fixed size")
        self.halo += projection_halo(self.scale) if self.consistent else 0
        self.tile = min(size) if size else max(tile or int(self.manifest["tile"]), 2 * self.halo + 16)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or os.cpu_count() or 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        graph = (folder / "model.onnx").read_bytes()
        if hashlib.sha256(graph).hexdigest() != self.manifest["files"]["model.onnx"]:
            raise Refused("model.onnx is not the file that was exported: export again", 500)
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def __call__(self, image: Any, *, budget: float | None = None) -> tuple[Any, str]:
        """The enlarged image, and what made it: ``model``, or ``bicubic`` where the time would not do.

        Args:
            image: (h, w, C) of uint8 or uint16; C is 1 or 3, or with alpha 2 or 4, which bicubic enlarges.
            budget: seconds; None for as long as it takes.
        """
        start, channels = time.monotonic(), image.shape[2]
        if channels in (2, 4):
            colours, made = self(image[..., :-1], budget=budget)
            alpha = image[..., -1:]
            plain = bool((alpha == alpha[0, 0]).all())
            large = np.repeat(np.repeat(alpha, self.scale, 0), self.scale, 1) if plain else self.enlarge(alpha)
            return np.concatenate([colours, large], axis=2), made
        if channels not in (1, 3):
            raise Refused(f"an image of {channels} channels: 1 to 4 are restored")
        height, width, scale = image.shape[0], image.shape[1], self.scale
        large = np.empty((height * scale, width * scale, channels), image.dtype)
        tiles = plan(height, width, self.tile, self.halo, self.fixed is not None)
        for done, (top, left, tall, wide, rows, columns) in enumerate(tiles):
            if budget is not None and done and (time.monotonic() - start) / done * len(tiles) > budget:
                return self.enlarge(image), "bicubic"
            low = image[mirrored(top, tall, height)[:, None], mirrored(left, wide, width)]
            window = self.window(as_float(low)[None])
            inner = window[
                0,
                :,
                (rows[0] - top) * scale : (rows[1] - top) * scale,
                (columns[0] - left) * scale : (columns[1] - left) * scale,
            ]
            large[rows[0] * scale : rows[1] * scale, columns[0] * scale : columns[1] * scale] = as_levels(
                inner, image.dtype
            )
        return large, "model"

    def window(self, low: Any) -> Any:
        """One window (1, C, h, w) in [0, 1], whatever the channels of the graph."""
        restored = by_channels(low, self.channels, self.scale, self.run)
        return project(restored, low) if self.consistent else restored

    def run(self, low: Any) -> Any:
        """The graph."""
        return self.session.run(None, {"low": np.ascontiguousarray(low, np.float32)})[0]

    def enlarge(self, image: Any) -> Any:
        """Bicubic interpolation of (h, w, C), in bands of rows."""
        height, scale, parts = image.shape[0], self.scale, []
        for top in range(0, height, 256):
            first, last = max(0, top - BICUBIC_HALO), min(height, top + 256 + BICUBIC_HALO)
            band = bicubic(as_float(image[first:last])[None], scale)[0]
            until = min(height, top + 256)
            parts.append(as_levels(band[:, (top - first) * scale : (until - first) * scale], image.dtype))
        return np.concatenate(parts)


def plan(height: int, width: int, tile: int, halo: int, fixed: bool) -> list[Any]:
    """Windows of one shape and the cores that they decide: (top, left, tall, wide, rows, columns)."""
    tall, wide = (tile if fixed else min(tile, length) for length in (height, width))
    whole = height <= tile and width <= tile
    margin = 0 if whole else halo
    return [
        (top, left, tall, wide, rows, columns)
        for top, rows in axis(height, tall, margin)
        for left, columns in axis(width, wide, margin)
    ]


def axis(length: int, window: int, halo: int) -> list[tuple[int, tuple[int, int]]]:
    """Start and core of each window along one axis."""
    last = max(0, length - window)
    starts = [*range(0, last, max(1, window - 2 * halo)), last]
    ends = [start + window - halo for start in starts[:-1]] + [length]
    return list(zip(starts, zip([0, *ends[:-1]], ends, strict=True), strict=True))


def mirrored(start: int, count: int, length: int) -> Any:
    """Indices into an axis that is continued by reflection."""
    index = np.arange(start, start + count) % max(2 * length - 2, 1)
    return np.minimum(index, 2 * length - 2 - index) if length > 1 else np.zeros(count, np.int64)


def decode(data: bytes) -> tuple[Any, dict[str, Any]]:
    """The pixels of an image file, upright, and what is kept beside them."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        return _decode_opencv(data), {}
    Image.MAX_IMAGE_PIXELS = None
    try:
        picture: Any = Image.open(io.BytesIO(data))
        _check_size(*picture.size)
        kept = {"icc_profile": picture.info["icc_profile"]} if picture.info.get("icc_profile") else {}
        picture = ImageOps.exif_transpose(picture)
        if picture.mode == "P" or "transparency" in picture.info:
            picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
        if picture.mode.startswith("I;16"):
            return np.asarray(picture).astype(np.uint16)[:, :, None], kept
        if picture.mode not in ("L", "LA", "RGB", "RGBA"):
            picture = picture.convert("L" if picture.mode == "1" else "RGB")
        pixels = np.asarray(picture)
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"no image that can be read: {error}") from error
    return (pixels[:, :, None] if pixels.ndim == 2 else pixels), kept


def _decode_opencv(data: bytes) -> Any:
    import cv2

    pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise Refused("no image that can be read")
    if pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)  # this one looks at the orientation
    _check_size(pixels.shape[1], pixels.shape[0])
    if pixels.ndim == 2:
        return pixels[:, :, None]
    return np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Refused(f"{width}x{height} pixels: at most {MAX_PIXELS:,} are taken (RESTORE_MAX_PIXELS)", 413)


def encode(image: Any, suffix: str = ".png", kept: dict[str, Any] | None = None) -> bytes:
    """An image file of (h, w, C)."""
    suffix = suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg", ".webp"):
        raise Refused(f"{suffix or 'no suffix'}: png, jpg or webp can be written")
    deep = image.dtype == np.uint16
    if suffix in (".jpg", ".jpeg") and (image.shape[2] in (2, 4) or deep):
        raise Refused("a JPEG file holds neither alpha nor 16 bits: write .png")
    try:
        from PIL import Image
    except ImportError:
        import cv2

        pixels = image[..., [2, 1, 0, 3][: image.shape[2]]] if image.shape[2] > 2 else image[..., :1]
        return bytes(cv2.imencode(suffix, pixels)[1].tobytes())
    if deep and image.shape[2] != 1:
        raise Refused("Pillow writes 16 bits of grey images only")
    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    file = io.BytesIO()
    by_suffix: dict[str, dict[str, Any]] = {".png": {"compress_level": 1}, ".webp": {"lossless": True}}
    settings = by_suffix.get(suffix, {"quality": 95, "subsampling": 0})
    name = {".jpg": "JPEG", ".jpeg": "JPEG"}.get(suffix, suffix[1:].upper())
    Image.fromarray(pixels).save(file, name, **settings, **(kept or {}))
    return file.getvalue()


_lock = threading.Lock()
_kept: dict[str, Restorer] = {}


def restorer(consistency: str | None = None) -> Restorer:
    """The one restorer of a process, made when it is first asked for."""
    kind = consistency or os.environ.get("RESTORE_CONSISTENCY", "")
    with _lock:
        if kind not in _kept:
            threads = int(os.environ.get("RESTORE_THREADS", 0)) or None
            _kept[kind] = Restorer(threads=threads, consistency=kind)
        return _kept[kind]


def handler(event: dict[str, Any], context: Any = None) -> dict[str, Any]:
    """Answers an event of AWS Lambda, of its function addresses and of its gateway, and of platforms with its likes.

    Args:
        event: ``body`` with an image in base64; or ``input_url``, and ``output_url`` to which the result is put. Also
            ``budget`` in seconds, and ``consistency``: exact.
        context: has ``get_remaining_time_in_millis``; where the time would not do, the image is bicubic, and the answer
            says so (``X-Restored-By``).
    """
    start = time.monotonic()
    try:
        asked = _asked(event)
        left = getattr(context, "get_remaining_time_in_millis", None)
        given = [] if left is None else [left() / 1000 - RESERVE]
        given += [float(asked["budget"])] if "budget" in asked else []
        image, kept = decode(asked["image"])
        budget = max(0.0, min(given) - (time.monotonic() - start)) if given else None
        restored, made = restorer(asked.get("consistency"))(image, budget=budget)
        data = encode(restored, ".png", kept)
        headers = {
            "Content-Type": "image/png",
            "X-Restored-By": made if made == "model" else "bicubic: the time would not do for the model",
            "X-Size": f"{restored.shape[1]}x{restored.shape[0]}",
        }
        if "output_url" in asked:
            _put(asked["output_url"], data)
            body = json.dumps({"restored_by": made, "bytes": len(data), "size": headers["X-Size"]})
            return {"statusCode": 200, "headers": {**headers, "Content-Type": "application/json"}, "body": body}
        body = base64.b64encode(data).decode("ascii")
        if len(body) + 1024 > BODY_LIMIT:
            raise Refused(f"the image has {len(data):,} bytes, more than an answer holds: give output_url", 413)
        return {"statusCode": 200, "headers": headers, "isBase64Encoded": True, "body": body}
    except Refused as error:
        body = json.dumps({"error": str(error)})
        return {"statusCode": error.status, "headers": {"Content-Type": "application/json"}, "body": body}


_ASKED = ("input_url", "output_url", "budget", "consistency")


def _asked(event: dict[str, Any]) -> dict[str, Any]:
    """What an event asks for, with the bytes of its image."""
    asked: dict[str, Any] = {key: event[key] for key in _ASKED if key in event}
    body = event.get("body")
    if "input_url" not in asked and isinstance(body, str):
        if not event.get("isBase64Encoded"):
            try:
                found = json.loads(body)
                asked |= {key: found[key] for key in _ASKED if key in found}
            except (ValueError, TypeError) as error:
                raise Refused("the body is neither base64 (isBase64Encoded) nor JSON with input_url") from error
        else:
            try:
                asked["image"] = base64.b64decode(body, validate=True)
            except ValueError as error:
                raise Refused("the body is not base64") from error
    if "input_url" in asked:
        asked["image"] = _get(asked["input_url"])
    if "image" not in asked:
        raise Refused("give an image in the body (base64), or input_url")
    return asked


def _checked(url: Any) -> str:
    """An address of a host that is allowed: nothing else is fetched for anybody."""
    parts = urllib.parse.urlsplit(str(url))
    hosts = [host for host in os.environ.get("RESTORE_HOSTS", "").split(",") if host]
    named = any(parts.hostname == host or (parts.hostname or "").endswith(f".{host}") for host in hosts)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")):
        raise Refused(f"{parts.scheme}: an address begins with https")
    if not named:
        raise Refused(f"{parts.hostname} is not among RESTORE_HOSTS={','.join(hosts) or '(nothing)'}", 403)
    return str(url)


class _Stay(urllib.request.HTTPRedirectHandler):
    """An address that leads elsewhere could lead anywhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


_open = urllib.request.build_opener(_Stay).open


def _get(url: Any) -> bytes:
    address = _checked(url)
    try:
        with _open(address, timeout=60) as answer:
            data = bytes(answer.read(8 * UPLOAD_LIMIT + 1))
    except OSError as error:
        raise Refused(f"input_url: {error}", 502) from error
    if len(data) > 8 * UPLOAD_LIMIT:
        raise Refused(f"input_url: more than {8 * UPLOAD_LIMIT:,} bytes", 413)
    return data


def _put(url: Any, data: bytes) -> None:
    request = urllib.request.Request(_checked(url), data=data, method="PUT", headers={"Content-Type": "image/png"})
    try:
        _open(request, timeout=300).close()
    except OSError as error:
        raise Refused(f"output_url: {error}", 502) from error


def serve(port: int, *, host: str = "0.0.0.0", ready: Any = None) -> None:
    """Answers POST / with the restored image, one after the other, and GET with the files of the page.

    SIGTERM ends it when what was taken is answered.
    """
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    turn = threading.Lock()

    class Answers(SimpleHTTPRequestHandler):
        timeout = 60  # seconds of a client that says nothing

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(HERE))

        def translate_path(self, path: str) -> str:
            clean = urllib.parse.urlsplit(path).path
            allowed = {"/manifest.json", "/model.onnx"}
            return super().translate_path(clean if clean in allowed else f"/page{clean}")

        def end_headers(self) -> None:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > UPLOAD_LIMIT:
                self.send_error(413 if length.isdigit() else 411, f"at most {UPLOAD_LIMIT:,} bytes")
                return
            try:
                image, kept = decode(self.rfile.read(int(length)))
                with turn:
                    restored, made = restorer()(image, budget=float(os.environ.get("RESTORE_BUDGET", "inf")))
                data = encode(restored, ".png", kept)
            except Refused as error:
                self.send_error(error.status, str(error))
                return
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Restored-By", made)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: Any) -> None:
            print(format % arguments, file=sys.stderr)

    class Server(ThreadingHTTPServer):
        daemon_threads = False  # its end waits for them

    Answers.extensions_map = {**Answers.extensions_map, ".mjs": "text/javascript", ".wasm": "application/wasm"}
    with Server((host, port), Answers) as server:

        def end(*_: Any) -> None:
            threading.Thread(target=server.shutdown).start()

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, end)
        print(f"http://127.0.0.1:{server.server_address[1]}/", flush=True)
        if ready is not None:
            ready(server)
        server.serve_forever()


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Restore an image by the model of this bundle.")
    parser.add_argument("input", nargs="?", help="png, jpg or webp")
    parser.add_argument("output", nargs="?", help="png, jpg or webp")
    parser.add_argument("--tile", type=int, help="side of a window in low-resolution pixels")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("RESTORE_THREADS", 0)) or None)
    parser.add_argument("--budget", type=float, help="seconds; where they would not do, the image is bicubic")
    parser.add_argument("--consistency", choices=["exact"], help="shrunk again, the image is its input")
    parser.add_argument("--serve", type=int, metavar="PORT", help="answer requests instead")
    asked = parser.parse_args(arguments)
    if asked.serve is not None:
        serve(int(os.environ.get("PORT", asked.serve)))
        return 0
    if asked.input is None or asked.output is None:
        parser.error("give an input and an output, or --serve PORT")
    try:
        suffix = Path(asked.output).suffix
        image, kept = decode(Path(asked.input).read_bytes())
        made_by = Restorer(threads=asked.threads, tile=asked.tile, consistency=asked.consistency)
        restored, made = made_by(image, budget=asked.budget)
        data = encode(restored, suffix, kept)
        temporary = Path(f"{asked.output}.part")
        temporary.write_bytes(data)
        temporary.replace(asked.output)
    except (Refused, OSError) as error:
        print(f"restore.py: {error}", file=sys.stderr)
        return 1
    if made != "model":
        print("restore.py: the time would not do for the model: the image is bicubic", file=sys.stderr)
    print(f"{asked.output}: {restored.shape[1]}x{restored.shape[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
