"""An answer's file is the one that srlab restore writes: pixels, transparency, and what lies beside them."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms
from serving.conftest import encoded, picture, restorer
from starlette.testclient import TestClient

from sr_lab.images import to_levels, to_tensor
from sr_lab.images.codecs import encode
from sr_lab.images.files import decode_picture, read_picture
from sr_lab.images.metadata import Metadata
from sr_lab.inference.consistency import ConsistentRestorer
from sr_lab.inference.engines import ENGINES
from sr_lab.serving.answering import Parts
from sr_lab.serving.app import make_app
from sr_lab.serving.keys import Keys
from sr_lab.serving.pictures import ANSWERS
from sr_lab.serving.runner import Runner
from sr_lab.serving.service import Service
from sr_lab.serving.shelf import Shelf
from sr_lab.serving.sources import RestorerSource
from sr_lab.workflows.load import load_restorer
from sr_lab.workflows.restore import Wanted, restore

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation: int = 1) -> bytes:
    found = Image.Exif()
    found[0x010F], found[0x0132], found[0x0112] = "A camera", "2020:01:01 00:00:00", orientation
    return found.tobytes().removeprefix(b"Exif\0\0")


def metadata(orientation: int = 1) -> Metadata:
    return Metadata(
        icc=ICC, exif=exif(orientation), xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", resolution=(300, 300)
    )


def with_hole(image):
    alpha = np.full((*image.shape[:2], 1), np.iinfo(image.dtype).max, image.dtype)
    alpha[5:20, 5:30] = 0
    alpha[20:22] //= 2
    return np.concatenate((image, alpha), axis=2)


FILES = {
    "transparent.png": encode(with_hole(picture()), "png", metadata(6), alpha=True),
    "deep.png": encode(with_hole(picture(dtype=np.uint16)), "png", metadata(), alpha=True),
    "grey.png": encode(with_hole(picture(channels=1)), "png", metadata(), alpha=True),
    "opaque.png": encode(np.dstack((picture(), np.full((40, 50), 255, np.uint8))), "png", metadata(), alpha=True),
    "turned.jpg": encode(picture(), "jpg", metadata(8)),
    "deep.tif": encode(picture(dtype=np.uint16), "tif", metadata()),
}


@pytest.mark.parametrize(
    ("name", "format"),
    [
        *(("transparent.png", format) for format in ("png", "tif", "webp", "avif", "jxl")),
        *(("turned.jpg", format) for format in ("png", "tif", "jpg", "webp", "avif", "jxl", "bmp")),
        *((name, format) for name in ("deep.png", "grey.png", "deep.tif") for format in ("png", "tif")),
        ("opaque.png", "jpg"),
    ],
)
def test_the_answer_is_the_file_of_restore(served, tmp_path: Path, name: str, format: str) -> None:
    if format == "jxl":
        pytest.importorskip("imagecodecs")
    (tmp_path / name).write_bytes(FILES[name])
    made = restore(
        input=tmp_path / name, output=tmp_path / f"made.{format}", load=lambda _: restorer(1),
        made_by={"name": "photos/1"}, device=lambda: torch.device("cpu"),
    )  # fmt: skip
    assert not made.failures, made.failures
    answer = served.client.post("/v1/restore", content=FILES[name], headers={"accept": ANSWERS[format].media})
    assert (answer.status_code, answer.headers["content-type"]) == (200, ANSWERS[format].media), answer.text
    wanted, found = read_picture(tmp_path / f"made.{format}"), decode_picture(answer.content, max_pixels=10**6)
    assert found.alpha == wanted.alpha
    assert found.metadata == wanted.metadata
    most = 1 if "deep" in name else 0  # of 65,535: other shapes, other sums
    np.testing.assert_allclose(found.pixels.astype(int), wanted.pixels, rtol=0, atol=most)
    if not most and format not in ("png", "tif"):  # a PNG's rows are packed otherwise where they come one by one
        assert answer.content == (tmp_path / f"made.{format}").read_bytes()


def test_what_a_format_cannot_hold_is_refused_or_laid_on_a_background(served, tmp_path: Path) -> None:
    def send(query: str = "", **headers: str):
        return served.client.post(f"/v1/restore{query}", content=FILES["transparent.png"], headers=headers)

    refused = send(accept="image/jpeg")
    assert (refused.status_code, refused.json()["type"]) == (406, "urn:srlab:problem:format")
    assert "transparency" in refused.json()["detail"]
    assert send("?background=pink", accept="image/jpeg").status_code == 400
    answer = send("?background=black&quality=80&strip=true", accept="image/jpeg")
    assert answer.status_code == 200, answer.text
    (tmp_path / "low.png").write_bytes(FILES["transparent.png"])
    wanted = Wanted(scale=2, background=(0, 0, 0), quality=80, strip=True)
    restore(
        input=tmp_path / "low.png", output=tmp_path / "made.jpg", load=lambda _: restorer(1),
        made_by={"name": "photos/1"}, device=lambda: torch.device("cpu"), wanted=wanted,
    )  # fmt: skip
    assert answer.content == (tmp_path / "made.jpg").read_bytes()
    assert served.service.memory.held == len(served.service.runner.queue) == 0


def test_bands_beyond_colours_are_answered_as_tiff_and_npy(served) -> None:
    image, stream = picture(channels=4), io.BytesIO()
    tifffile.imwrite(stream, image, photometric="minisblack", planarconfig="contig", extrasamples=["unspecified"] * 3)

    def send(accept: str):
        return served.client.post("/v1/restore?tier=fast", content=stream.getvalue(), headers={"accept": accept})

    assert send("image/png").status_code == 406
    assert tifffile.imread(io.BytesIO(send("image/tiff").content)).shape == (80, 100, 4)
    assert np.load(io.BytesIO(send("application/x-npy").content)).shape == (80, 100, 4)


def test_an_animated_or_misnamed_body_says_what_is_wrong(served) -> None:
    data = cv2.imencode(".png", picture())[1].tobytes()
    assert served.client.post("/v1/restore", content=data, headers={"content-type": "image/webp"}).status_code == 200
    assert served.client.post("/v1/restore", content=encoded(picture())[:-30]).status_code == 415


def test_consistency_is_asked_for_and_kept_apart_from_other_requests(served) -> None:
    image = picture(190, 200)
    wanted = ConsistentRestorer(restorer(1))
    with torch.inference_mode():
        expected = to_levels(wanted(to_tensor(image)), np.uint8)

    def send(query: str):
        return served.client.post(f"/v1/restore{query}", content=encoded(image))

    with ThreadPoolExecutor(4) as pool:  # tiles of one shape, which meet in the queue
        answers = list(pool.map(send, ["?consistency=exact", "", "?consistency=exact", ""]))
    assert [answer.status_code for answer in answers] == [200] * 4, answers[0].text
    exact, plain = (decode_picture(answers[place].content, max_pixels=10**6).pixels for place in (0, 1))
    assert np.abs(exact.astype(int) - expected).max() <= 1
    assert wanted.kept(exact, image) > 55 > wanted.kept(plain, image)
    assert answers[0].content == answers[2].content
    assert answers[1].content == answers[3].content
    assert float(answers[0].headers["x-lr-consistency"].split()[0]) == pytest.approx(60, abs=1), "at its most"
    assert send("?consistency=nearly").status_code == 400


def test_images_smaller_than_a_tile_are_those_of_restore_whatever_came_before(tmp_path: Path) -> None:
    for module in ENGINES["openvino"].modules:  # which was compiled for each size
        pytest.importorskip(module, reason="needs pip install 'sr-lab[openvino]'")
    sizes = [(1, 1), (1, 7), (9, 1), (2, 3), (17, 31), (33, 32), (64, 65), (31, 17), (1, 1), (101, 8)]
    device = torch.device("cpu")
    source = RestorerSource(name="edge", restorer="edge", scale=2, tracking_uri="-", device=device, engine="openvino")
    service = Service(shelf=Shelf([source]), runner=Runner())
    service.shelf.load()
    service.runner.start()
    for number, size in enumerate(sizes):
        (tmp_path / "low").mkdir(exist_ok=True)
        (tmp_path / "low" / f"{number}.png").write_bytes(encoded(picture(*size, seed=number)))
    made = restore(
        input=tmp_path / "low", output=tmp_path / "high", device=lambda: device, made_by={"name": "edge"},
        load=lambda _: load_restorer("edge", scale=2, engine="openvino", device="cpu"),
    )  # fmt: skip
    assert not made.failures, made.failures
    with TestClient(make_app(Parts(service=service, keys=Keys(None)))) as client, ThreadPoolExecutor(3) as pool:
        answers = list(
            pool.map(
                lambda number: client.post("/v1/restore", content=(tmp_path / "low" / f"{number}.png").read_bytes()),
                range(len(sizes)),
            )
        )
    for number, answer in enumerate(answers):
        assert answer.status_code == 200, answer.text
        wanted = read_picture(tmp_path / "high" / f"{number}.png").pixels
        np.testing.assert_array_equal(decode_picture(answer.content, max_pixels=10**6).pixels, wanted)
