"""What encoding costs: each encoder that is installed, on one photo, in CPU seconds a megapixel and bytes.

    python benchmarks/codecs.py PHOTO [RUNS]

The least of RUNS interleaved runs counts, of CPU time, so that what else the machine does matters little.
"""

import io
import sys
import time
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from sr_lab.images import read_image
from sr_lab.images.codecs import encode, form_of
from sr_lab.images.metadata import Metadata
from sr_lab.images.png import png_rows

Encoder = Callable[[np.ndarray], bytes]


def by_pillow(kind: str, **options: object) -> Encoder:
    def run(image: np.ndarray) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, kind, **options)
        return stream.getvalue()

    return run


def by_opencv(suffix: str, *options: int) -> Encoder:
    return lambda image: cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def by_rows(image: np.ndarray) -> bytes:
    return b"".join(png_rows([image], form_of(image), Metadata()))


def encoders() -> dict[str, Encoder]:
    found: dict[str, Encoder] = {
        f"png: srlab, rows ({'isal' if find_spec('isal') else 'zlib'})": by_rows,
        "png: srlab, whole": lambda image: encode(image, "png"),
        "png: OpenCV, default": by_opencv(".png"),
        "png: OpenCV, level 1": by_opencv(".png", cv2.IMWRITE_PNG_COMPRESSION, 1),
        "png: Pillow, level 1": by_pillow("PNG", compress_level=1),
        "png: Pillow, default": by_pillow("PNG"),
        "deflate of the pixels alone, zlib 1": lambda image: zlib.compress(image.tobytes(), 1),
        "jpg: srlab": lambda image: encode(image, "jpg"),
        "jpg: simplejpeg": lambda image: simplejpeg.encode_jpeg(image, 95, "RGB", "444"),
        "jpg: OpenCV": by_opencv(".jpg", cv2.IMWRITE_JPEG_QUALITY, 95),
        "jpg: Pillow": by_pillow("JPEG", quality=95, subsampling=0),
        "webp: srlab": lambda image: encode(image, "webp"),
        "webp: OpenCV, lossless": by_opencv(".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
        "webp: Pillow, lossless": by_pillow("WEBP", lossless=True),
        "avif: srlab": lambda image: encode(image, "avif"),
        "avif: Pillow, default": by_pillow("AVIF"),
        "tif: srlab": lambda image: encode(image, "tif"),
        "tif: Pillow, deflate": by_pillow("TIFF", compression="tiff_adobe_deflate"),
    }
    if find_spec("imagecodecs"):
        import imagecodecs

        found["jxl: srlab"] = lambda image: encode(image, "jxl")
        found["png: imagecodecs, level 1"] = lambda image: imagecodecs.png_encode(image, 1)
        found["jxl: imagecodecs, effort 3"] = lambda image: imagecodecs.jpegxl_encode(image, lossless=True, effort=3)
    return found


def main(photo: str, runs: int = 3) -> None:
    image = read_image(Path(photo))
    megapixels = image.shape[0] * image.shape[1] / 1e6
    table = encoders()
    times: dict[str, list[float]] = {name: [] for name in table}
    sizes = {}
    for _ in range(runs):
        for name, run in table.items():
            start = time.process_time()
            sizes[name] = len(run(image))
            times[name].append(time.process_time() - start)
    print(f"{image.shape[1]}x{image.shape[0]}, {runs} runs; CPU ms a megapixel, KB a megapixel")
    for name in sorted(table, key=lambda each: (each.split(":")[0], min(times[each]))):
        print(f"{name:40} {1000 * min(times[name]) / megapixels:9.1f} {sizes[name] / 1000 / megapixels:9.0f}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
