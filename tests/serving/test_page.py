"""The page in a browser: a picture is restored and shown before and after, by the server and by the browser itself."""

import itertools
import threading

import browser
import pytest
from serving.conftest import answering, make
from web import web_folder

from sr_lab.cli import main
from sr_lab.serving.app import make_app
from sr_lab.serving.edge import EdgeBundle

SEND = """(async () => {
  const canvas = document.createElement("canvas"); canvas.width = 160; canvas.height = 120;
  const pen = canvas.getContext("2d");
  const sky = pen.createLinearGradient(0, 0, 0, 120); sky.addColorStop(0, "#369"); sky.addColorStop(1, "#fc9");
  pen.fillStyle = sky; pen.fillRect(0, 0, 160, 120);
  pen.fillStyle = "#222"; pen.font = "20px sans-serif"; pen.fillText("Low picture", 20, 60);
  pen.beginPath(); pen.arc(120, 90, 20, 0, 7); pen.fill();
  const blob = await new Promise(done => canvas.toBlob(done, "image/png"));
  document.getElementById("tier").value = "fast";
  await srlab.restore(new File([blob], "a.png", {type: "image/png"}));
  return document.getElementById("state").textContent;
})()"""


NEEDS_CHROMIUM = pytest.mark.skipif(browser.PROGRAM is None, reason="needs Chromium: apt install chromium")


@NEEDS_CHROMIUM
def test_a_picture_is_restored_and_compared_on_the_page(tmp_path):
    parts, _ = make()
    with answering(parts) as address, browser.browser(tmp_path / "profile") as page:
        page.open(address)
        said = page.evaluate(SEND)
        assert said.startswith("320x240 pixels in "), said
        assert "version 1 (tier fast)" in said
        page.evaluate("slider.value = 30; srlab.slide()")
        assert page.evaluate("before.style.clipPath") == "inset(0px 70% 0px 0px)"
        assert page.evaluate("!save.hidden && save.href.startsWith('blob:')")
        page.evaluate("model.value = 'photos'; srlab.told()")
        assert "Invented detail." in page.evaluate("document.getElementById('warning').innerText")
        refused = page.evaluate(
            "(async () => { await srlab.restore(new File(['no image'], 'b.png')); return state.textContent; })()"
        )
        assert refused.startswith("Refused (415)")


PAINT = """
const canvas = new OffscreenCanvas(150, 130);
const pen = canvas.getContext("2d");
for (let y = 0; y < 130; y += 5) for (let x = 0; x < 150; x += 5) {
  pen.fillStyle = `rgb(${x + 40}, ${y + 60}, ${(x * y) % 255})`;
  pen.fillRect(x, y, 5, 5);
}
const blob = await canvas.convertToBlob({ type: "image/png" });
const file = new File([blob], "a.png", { type: "image/png" });
const seen = (name) => {
  const { width, height } = at(name);
  return [...at(name).getContext("2d").getImageData(0, 0, width, height).data].filter((_, place) => place % 4 === 3);
};
const at = (id) => document.getElementById(id);
const until = async (test) => { while (!test()) await new Promise((go) => setTimeout(go, 10)); };
"""
HYBRID = f"""(async () => {{ {PAINT}
  const done = srlab.restore(file);
  await until(() => /on this device 100%/.test(at("share").textContent));  // the server waits meanwhile
  const here = [at("edge").width, at("edge").height, seen("edge").every((alpha) => alpha === 255)];
  const nothing = seen("server").every((alpha) => alpha === 0);
  await fetch("go");
  await until(() => /by the server/.test(at("share").textContent));
  const covered = seen("server").filter((alpha) => alpha === 255).length / seen("server").length;
  await fetch("go");
  await done;
  return [...here, nothing, covered > 0 && covered < 1, at("state").textContent, at("after").naturalWidth];
}})()"""
ALONE = f"""(async () => {{ {PAINT}
  at("key").value = "wrong";
  await srlab.restore(file);
  return [at("state").textContent, at("save").hidden, at("after").hidden, globalThis.crossOriginIsolated];
}})()"""


@NEEDS_CHROMIUM
@pytest.mark.skipif(web_folder() is None, reason="needs npm install --prefix .web onnxruntime-web, or SRLAB_WEB")
def test_the_browser_restores_at_once_and_the_servers_tiles_take_its_place(tmp_path):
    """The server's first tile waits until the page says that it has seen its own; so does the last."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'sr-lab[onnx]'")
    settings = {"restorer": "edge", "scale": 2, "output": tmp_path / "bundle", "target": "bundle", "num_runs": 1,
                "web": web_folder()}  # fmt: skip
    assert main(["export", *(f"{key}={value}" for key, value in settings.items())]) == 0
    parts, _ = make()
    parts.edge = EdgeBundle(tmp_path / "bundle")
    model, go, count = parts.service.shelf.get("photos"), threading.Semaphore(0), itertools.count()
    compute = model.restorer.piece

    def waiting(low):
        if next(count) in (0, 2):
            assert go.acquire(timeout=120)
        return compute(low)

    model.restorer.piece = waiting
    app = make_app(parts)
    app.get("/go")(lambda: go.release())
    with answering(parts, app) as address, browser.browser(tmp_path / "profile") as page:
        page.open(address)
        width, height, whole, nothing, some, said, natural = page.evaluate(HYBRID)
        assert (width, height, whole, nothing, some, natural) == (300, 260, True, True, True, 300)
        assert said.startswith("300x260 pixels in ")
        assert "photos, version 1 (tier best)" in said
        parts.draining = True  # what the server refuses is restored here all the same
        said, unsaved, other, isolated = page.evaluate(ALONE)
        assert said.startswith("Refused (503): the server is ending")
        assert "restored on this device: " in said
        assert (unsaved, other, isolated) == (False, True, True)
