"""The page in a browser: a picture is restored and shown before and after."""

import base64
import threading
import time

import browser
import pytest
import uvicorn
from serving.conftest import make

from sr_lab.serving.app import make_app

SEND = """(async () => {
  const canvas = document.createElement("canvas"); canvas.width = 160; canvas.height = 120;
  const pen = canvas.getContext("2d");
  const sky = pen.createLinearGradient(0, 0, 0, 120); sky.addColorStop(0, "#369"); sky.addColorStop(1, "#fc9");
  pen.fillStyle = sky; pen.fillRect(0, 0, 160, 120);
  pen.fillStyle = "#222"; pen.font = "20px sans-serif"; pen.fillText("Low picture", 20, 60);
  pen.beginPath(); pen.arc(120, 90, 20, 0, 7); pen.fill();
  const blob = await new Promise(done => canvas.toBlob(done, "image/png"));
  document.getElementById("tier").value = "fast";
  await restore(new File([blob], "a.png", {type: "image/png"}));
  return document.getElementById("state").textContent;
})()"""


@pytest.mark.skipif(browser.PROGRAM is None, reason="needs Chromium: apt install chromium")
def test_a_picture_is_restored_and_compared_on_the_page(tmp_path):
    parts, _ = make()
    server = uvicorn.Server(uvicorn.Config(make_app(parts), port=0, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with browser.browser(tmp_path / "profile") as page:
        page.open(f"http://127.0.0.1:{port}/")
        said = page.evaluate(SEND)
        assert said.startswith("320x240 pixels in "), said
        assert "version 1 (tier fast)" in said
        page.evaluate("slider.value = 30; slide()")
        assert page.evaluate("before.style.clipPath") == "inset(0px 70% 0px 0px)"
        assert page.evaluate("!save.hidden && save.href.startsWith('blob:')")
        page.evaluate("model.value = 'photos'; told()")
        assert "Invented detail." in page.evaluate("document.getElementById('warning').innerText")
        shot = base64.b64decode(page("Page.captureScreenshot", format="png")["data"])
        (tmp_path / "page.png").write_bytes(shot)
        refused = page.evaluate(
            "(async () => { await restore(new File(['no image'], 'b.png')); return state.textContent; })()"
        )
        assert refused.startswith("Refused (415)")
    server.should_exit = True
    thread.join(30)
