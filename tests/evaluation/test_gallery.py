"""The gallery: made in this process, and used in a browser from a disk."""

import base64

import browser
import numpy as np
import pytest
import torch
from skimage import data

from sr_lab.images import read_image, write_image
from sr_lab.inference.restorers import BicubicRestorer
from sr_lab.metrics.hallucination import Hallucination, invented_detail
from sr_lab.metrics.protocol import YCrop
from sr_lab.metrics.psnr import PSNR
from sr_lab.workflows.gallery import find_runs, make_gallery
from sr_lab.workflows.showing import Folder, load_restorers


class Flat:
    """Nothing but grey."""

    metadata = None
    scale = 2

    def __call__(self, low):
        return torch.full((*low.shape[:2], 2 * low.shape[2], 2 * low.shape[3]), 0.25)


@pytest.fixture
def photos(tmp_path):
    for name, pixels in {"cat": data.chelsea()[60:124, 120:216], "cup": data.coffee()[100:160, 200:280]}.items():
        write_image(tmp_path / "photos" / f"{name}.png", np.ascontiguousarray(pixels))
    return tmp_path / "photos"


def make(photos, output, **more):
    restorers = {"bicubic": BicubicRestorer(scale=2), "flat": Flat(), **more.pop("restorers", {})}
    metrics = {"psnr": PSNR(protocol=YCrop(), scale=2), "invented": Hallucination(scale=2)}
    return make_gallery(
        restorers, photos, output=output, scale=2, protocol=YCrop(), metrics=metrics, progress=False, **more
    )


def pixel(page, name, x, y):
    """A pixel of what the page has decoded or computed; x is a place and the width."""
    first = 4 * (y * x[1] + x[0])
    return page.evaluate(f"(async () => Array.from(pixels(await {name}).data.slice({first}, {first + 3})))()")


TURNED = """(async () => {
  press('f');
  press(' ');
  const painted = press(' ');
  state.turned = Infinity;  // from here on nothing turns by itself
  await painted;
  return [turned(), panels.get('input').drawn];
})()"""
STATE = """JSON.stringify([state.image, state.view, state.flicker, state.histogram, [...state.shown],
  state.zoom.toFixed(3), state.x.toFixed(3)])"""
ZOOMED = """(async () => {
  for (let k = 0; k < 300 && state.zoom === 4; k++) await new Promise(done => setTimeout(done, 10));
  return state.zoom > 4;
})()"""


@pytest.mark.skipif(browser.PROGRAM is None, reason="needs Chromium: apt install chromium")
def test_a_researcher_looks_at_two_results(photos, tmp_path):
    write_image(tmp_path / "elsewhere" / "cat.png", np.zeros((64, 96, 3), np.uint8))
    write_image(tmp_path / "elsewhere" / "cup.png", np.zeros((60, 80, 3), np.uint8))
    made = make(photos, tmp_path / "look.html", restorers={"black": Folder(tmp_path / "elsewhere", scale=2)})
    assert (made.num_images, made.page) == (2, tmp_path / "look.html")
    assert made.means["bicubic"]["psnr_y"] > made.means["flat"]["psnr_y"]
    cat = read_image(photos / "cat.png")
    with browser.browser(tmp_path / "profile") as page:
        page("Emulation.setDeviceMetricsOverride", width=1200, height=800, deviceScaleFactor=1, mobile=False)
        page.open(made.page.as_uri())
        page.evaluate("paint()")
        assert page.evaluate("NAMES") == ["input", "bicubic", "flat", "black", "original"]
        assert page.evaluate("panels.get('bicubic').values.textContent").startswith("psnr_y ")
        assert pixel(page, "picture('original')", (10, 96), 20) == cat[20, 10].tolist(), "no level is lost"
        page.evaluate("press('d')")
        assert pixel(page, "difference('black')", (10, 96), 20) == cat[20, 10].tolist()
        assert pixel(page, "difference('original')", (10, 96), 20) == [0, 0, 0]
        page.evaluate("press('g')")
        assert pixel(page, "difference('flat')", (10, 96), 20) == [
            min(255, 2 * abs(int(level) - 64)) for level in cat[20, 10]
        ]
        page.evaluate("press('s')")
        assert page.evaluate("panels.get('bicubic').drawn") == "bicubic"
        rows = page.evaluate("(async () => { const p = power(await picture('original')); return [p.n, ...p.out]; })()")
        n = int(rows[0])
        luma = cat[:64, 16:80] @ np.array([0.299, 0.587, 0.114])
        window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n)
        ours = np.fft.fft2((luma - luma.mean()) * window * window[:, None])
        assert n == 64
        assert np.allclose(np.reshape(rows[1:], (n, n)), np.fft.fftshift(np.log10(np.abs(ours) ** 2 + 1)), atol=1e-6)
        page.evaluate("press('i')")
        assert pixel(page, "invented('bicubic')", (10, 96), 20) == [0, 0, 4]
        page.evaluate("press('p')")
        page.evaluate("press('h')")
        counts = page.evaluate("(async () => Array.from(await counts('flat')))()")
        assert counts[16] == 1
        page.evaluate("press('o')")
        page.evaluate("zoomBy(4, one())")
        page.evaluate("move(0.1, -0.1); paint()")
        assert page.evaluate("[state.zoom, state.x, state.y].map(v => +v.toFixed(3))") == [4, 0.6, 0.4]
        page("Input.dispatchMouseEvent", type="mouseWheel", x=300, y=300, deltaX=0, deltaY=-100)
        assert page.evaluate(ZOOMED)
        page.evaluate("press('ArrowRight')")
        page.evaluate("press('4')")
        assert page.evaluate(TURNED) == ["flat", "flat"]
        assert page.evaluate("[...panels.values()].filter(p => !p.box.classList.contains('hidden')).length") == 1
        shot = base64.b64decode(page("Page.captureScreenshot", format="png")["data"])
        (tmp_path / "gallery.png").write_bytes(shot)
        link, kept = page.evaluate(f"[location.href, {STATE}]")
        page.open("about:blank")
        page.open(link)
        assert page.evaluate(STATE) == kept
        page.open("about:blank")
        page.open(f"{made.page.as_uri()}#image=nobody&view=nothing&shown=77&zoom=NaN&gain=3")
        page.evaluate("paint()")
        assert page.evaluate("[state.image, state.view, state.shown.size, state.zoom, state.gain]") == [
            0,
            "picture",
            5,
            0,
            1,
        ]


def test_the_map_is_that_of_the_metric_and_parts_are_the_same(photos, tmp_path, monkeypatch):
    seen = []
    from sr_lab.workflows import gallery

    ours = gallery.gallery
    monkeypatch.setattr(gallery, "gallery", lambda exhibits, **more: seen.extend(exhibits) or ours(exhibits, **more))
    make(photos, tmp_path / "look", side=32, where="centre", only=["cat"])
    assert (tmp_path / "look" / "gallery.html").is_file()
    (exhibit,) = seen
    cat = read_image(photos / "cat.png")
    assert np.array_equal(exhibit.pictures["original"], cat[16:48, 32:64])
    assert exhibit.low.shape == (16, 16, 3)
    part = torch.from_numpy(np.ascontiguousarray(exhibit.pictures["original"])).permute(2, 0, 1)[None].float() / 255
    flat = torch.full_like(part, 0.25)
    assert np.allclose(
        exhibit.maps["flat"], 255 * invented_detail(flat, part, scale=2).square().mean(1)[0].sqrt(), atol=1e-3
    )
    assert list(exhibit.pictures) == ["bicubic", "flat", "original"]
    make(photos, tmp_path / "inputs.html", as_input=True)
    assert "original" not in seen[-1].pictures
    assert seen[-1].values == {}


def test_what_cannot_be_shown_is_said(photos, tmp_path):
    with pytest.raises(ValueError, match="no image dog"):
        make(photos, tmp_path / "a.html", only=["dog"])
    write_image(tmp_path / "elsewhere" / "cat.png", np.zeros((60, 96, 3), np.uint8))
    with pytest.raises(ValueError, match="is 96x60, expected 96x64"):
        make(photos, tmp_path / "a.html", restorers={"black": Folder(tmp_path / "elsewhere", scale=2)})
    with pytest.raises(ValueError, match="where=left"):
        make(photos, tmp_path / "a.html", where="left")
    assert not (tmp_path / "a.html").exists()
    with pytest.raises(ValueError, match="give scale="):
        load_restorers(["bicubic"])
    with pytest.raises(ValueError, match="named twice"):
        load_restorers(["bicubic", "bicubic"], scale=2)


def test_runs_are_found_by_their_best_weights(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "best").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    assert find_runs([f"{tmp_path}/*"]) == [f"{tmp_path}/a/best", f"{tmp_path}/b/best"]
    assert find_runs([f"{tmp_path}/a", f"{tmp_path}/a"]) == [f"{tmp_path}/a/best"]
    with pytest.raises(FileNotFoundError, match="no folder there"):
        find_runs([f"{tmp_path}/c/*"])
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_runs([f"{tmp_path}/d"])
