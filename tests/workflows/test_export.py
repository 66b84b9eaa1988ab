import base64
import http.client
import importlib.util
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import browser
import numpy as np
import pytest
import torch
from web import web_folder

import sr_lab
from sr_lab.artefacts.artefact import build_network, save_artefact
from sr_lab.cli import main
from sr_lab.images import read_image, to_levels, to_tensor, write_image
from sr_lab.workflows.export import least_in_float
from sr_lab.workflows.load import load_restorer

ROOT = Path(__file__).resolve().parents[2]


def photo(height, width, seed=0):
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([np.sin(rows / (5 + c)) * np.cos(columns / (7 - c)) for c in range(3)], axis=-1)
    noise = np.random.default_rng(seed).random((height, width, 3))
    return (255 * (0.5 + 0.35 * waves + 0.15 * (noise - 0.5)).clip(0, 1)).astype(np.uint8)


def artefact(folder, channels):
    torch.manual_seed(2)
    node = {
        "_target_": "sr_lab.networks.compact.Compact",
        "scale": 2, "num_channels": channels, "num_features": 8, "num_convs": 2,
    }  # fmt: skip
    config = {"model": {"network": node}}
    return save_artefact(folder, build_network(node), config=config, metadata={"commit": "c0ffee", "images": {}})


@pytest.fixture(scope="module")
def luma(tmp_path_factory):
    return artefact(tmp_path_factory.mktemp("luma") / "best", 1)


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    return artefact(tmp_path_factory.mktemp("colour") / "best", 3)


@pytest.fixture(scope="module")
def bundle(luma, tmp_path_factory):
    pytest.importorskip("onnxruntime", reason="needs pip install 'sr-lab[onnx]'")
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    web = {"web": str(found)} if (found := web_folder()) else {}
    settings = {"restorer": str(luma), "output": str(folder), "target": "bundle", "num_runs": 1, **web}
    assert main(["export", *(f"{key}={value}" for key, value in settings.items())]) == 0
    return folder


@pytest.fixture(scope="module")
def runtime(bundle):
    spec = importlib.util.spec_from_file_location("bundled_restore", bundle / "restore.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("target", "precision"),
    [("onnx", "fp32"), ("onnx", "fp16"), ("ncnn", "fp32"), ("ncnn", "fp16"), ("openvino", "fp32")],
)
def test_files_compute_the_network_and_say_where_they_came_from(target, precision, colour, tmp_path, capsys):
    for module in {"onnx": ["onnxruntime"], "openvino": ["openvino", "onnx"], "ncnn": ["ncnn"]}[target]:
        pytest.importorskip(module)
    given = [f"restorer={colour}", f"output={tmp_path / 'out'}", f"target={target}", f"precision={precision}"]
    assert main(["export", *given, "num_runs=1"]) == 0
    assert "against PyTorch" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    weights = json.loads((colour / "metadata.json").read_text())["sha256"]["weights.safetensors"]
    assert manifest["source"]["weights"] == weights
    assert (manifest["source"]["commit"], manifest["scale"], manifest["channels"]) == ("c0ffee", 2, 3)
    assert manifest["check"]["max"] < (1e-6 if precision == "fp32" else 1e-3)
    assert manifest["check"]["levels"] <= 1
    assert manifest["check"]["flipped"] <= (2 if precision == "fp32" else manifest["check"]["values"] / 20)
    assert manifest["cost"]["parameters"] == 2292
    assert manifest["cost"]["radius"] == manifest["halo"] == 4


def test_an_export_is_a_restorer_with_the_lineage_of_its_source(colour, tmp_path):
    pytest.importorskip("onnxruntime")
    assert main(["export", f"restorer={colour}", f"output={tmp_path / 'out'}", "num_runs=1"]) == 0
    ours, theirs = sr_lab.load(tmp_path / "out"), sr_lab.load(colour)
    image = photo(40, 50)
    assert np.abs(ours(image).astype(int) - theirs(image)).max() <= 1
    assert ours.metadata["parents"][0]["weights"] == theirs.metadata["sha256"]["weights.safetensors"]
    (tmp_path / "out" / "model.onnx").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"model\.onnx is missing or not the file that was exported"):
        sr_lab.load(tmp_path / "out")


def test_a_graph_of_one_size_takes_that_size_alone(luma, tmp_path):
    pytest.importorskip("onnxruntime")
    assert main(["export", f"restorer={luma}", f"output={tmp_path / 'out'}", "size=[24,32]", "num_runs=1"]) == 0
    restorer = sr_lab.load(tmp_path / "out")
    assert restorer(photo(24, 32)).shape == (48, 64, 3)
    with pytest.raises(ValueError, match="the graph takes 24x32 pixels"):
        restorer(photo(20, 20))


@pytest.fixture
def photos(tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / "photos" / f"{name}.png", photo(128, 120, seed=ord(name)))
    return tmp_path / "photos"


def test_integers_are_judged_by_image_and_by_the_gate(colour, photos, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    given = [f"restorer={colour}", f"output={tmp_path / 'int8'}", "precision=int8", "num_runs=1"]
    given += [f"calibration={photos}", f"benchmark={photos}"]
    assert main(["export", *given]) == 0
    assert "int8 on 2 images" in capsys.readouterr().out
    judged = json.loads((tmp_path / "int8" / "manifest.json").read_text())["judged"]
    assert set(judged["loss_db"]) == {"a", "b"}
    assert judged["worst_loss_db"] < 0.15
    assert judged["mean_loss_db"] < 0.05
    found = sr_lab.compare(tmp_path / "int8", colour, photos, scale=2, metrics=["psnr"])
    ours, theirs = (found.scores.mean("psnr_y", name) for name in found.scores.names)
    assert theirs - ours == pytest.approx(judged["mean_loss_db"], abs=1e-6)


def test_integers_that_lose_too_much_are_refused_with_the_layers_that_do_it(colour, photos, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    given = [f"restorer={colour}", f"output={tmp_path / 'int8'}", "precision=int8", "num_runs=1"]
    given += [f"calibration={photos}", f"benchmark={photos}", "worst_loss=-9"]
    assert main(["export", *given]) == 1
    told = capsys.readouterr().err
    assert "int8 loses" in told
    assert "It does with any of its convolutions in integers: give precision=fp16" in told
    assert "this passes" not in told
    assert not (tmp_path / "int8").exists()
    assert main(["export", *given, "exclude=[v9]"]) == 1
    assert "exclude=v9: the network's convolutions are v0, v2, v4" in capsys.readouterr().err


def test_the_command_that_a_refusal_prints_passes(colour, photos, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    given = [f"restorer={colour}", f"output={tmp_path / 'in 8 bits'}", "precision=int8", "num_runs=1", "mean_loss=9"]
    given += [f"calibration={photos}", f"benchmark={photos}"]
    assert main(["export", *given, "worst_loss=9"]) == 0
    told = json.loads((tmp_path / "in 8 bits" / "manifest.json").read_text())["judged"]["worst_loss_db"]
    (strict,) = [f"worst_loss={told * 0.9 if told > 0 else told - 1e-4}"]
    capsys.readouterr()
    assert main(["export", *given, strict]) == 1
    message = capsys.readouterr().err
    (again,) = [line.removeprefix("this passes:  ") for line in message.splitlines() if line.startswith("this passes:")]
    words = shlex.split(again)
    assert words[:2] == ["srlab", "export"]
    assert words[-1] in message.splitlines()[0]
    assert main(words[1:]) == 0
    judged = json.loads((tmp_path / "in 8 bits" / "manifest.json").read_text())["judged"]
    assert judged["worst_loss_db"] < told
    assert words[-1] == f"exclude=[{','.join(judged['excluded'])}]"


@pytest.mark.parametrize(
    "needed", [{"v1"}, {"v7"}, {"v1", "v2", "v3"}, {"v2", "v9"}, {"v10"}, {"v11"}, {"v1", "v11"}], ids=sorted
)
def test_no_layer_is_left_in_float_that_need_not_be(needed):
    """v0 is excluded by hand; the other eleven come in the order of their names, the worst first."""
    asked = []

    def judge(names):
        asked.append(names)
        return {"mean_loss_db": 0.0 if needed <= set(names) else 1.0, "worst_loss_db": 0.0}

    found = least_in_float(judge, [f"v{k}" for k in range(1, 12)], ["v0"], (0.05, 0.15))
    if "v11" in needed:
        assert found is None, "all but one are tried, and that one is the least harmful"
        assert len(asked) == 1
    else:
        assert set(found[0]) == {"v0", *needed}
        assert found[0][0] == "v0"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["target=coreml"], "target=coreml: onnx, openvino, ncnn, bundle"),
        (["target=ncnn", "precision=int8"], "target=ncnn holds fp32 and fp16"),
        (["size=[4,4]"], "at least 16 pixels"),
        (["size=[64]"], "size=[64]: give height and width"),
        (["exclude=[v0]"], "is for precision=int8"),
        (["calibration=photos"], "calibration=photos is for precision=int8"),
        (["worst_loss=1"], "worst_loss=1.0 is for precision=int8"),
        (["web=."], "the page is a part of target=bundle"),
    ],
)
def test_settings_that_do_not_fit_are_told(settings, message, luma, tmp_path, capsys):
    assert main(["export", f"restorer={luma}", f"output={tmp_path / 'out'}", *settings]) == 1
    assert message in capsys.readouterr().err


BLOCKED = """
import runpy, sys
for name in ("torch", "sr_lab", "cv2", "scipy", "mlflow"):
    sys.modules[name] = None  # importing it fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_bundle_makes_the_image_of_srlab_restore_without_torch(bundle, luma, tmp_path):
    write_image(tmp_path / "low.png", photo(150, 170))
    command = [sys.executable, "-c", BLOCKED, str(bundle / "restore.py"), str(tmp_path / "low.png")]
    done = subprocess.run(
        [*command, str(tmp_path / "large.png"), "--tile", "64"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "large.png: 340x300" in done.stdout
    ours, theirs = sr_lab.read(tmp_path / "large.png"), sr_lab.load(luma)(tmp_path / "low.png")
    apart = np.abs(ours.astype(int) - theirs)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-4


def test_the_bundle_takes_grey_alpha_and_16_bits(runtime, bundle, luma):
    restorer, theirs = runtime.Restorer(bundle, threads=1, tile=48), sr_lab.load(luma)
    colours = photo(70, 60)
    grey = np.ascontiguousarray(colours[..., :1])
    assert np.abs(restorer(grey)[0].astype(int) - theirs(grey)).max() <= 1
    deep = colours.astype(np.uint16) * 257
    assert np.abs(restorer(deep)[0].astype(int) - theirs(deep)).max() <= 2
    alpha = np.concatenate([colours, grey], axis=2)
    restored = restorer(alpha)[0]
    assert np.abs(restored[..., :3].astype(int) - theirs(colours)).max() <= 1
    assert restored.shape == (140, 120, 4)
    bicubic = sr_lab.load("bicubic", scale=2)(grey)
    assert np.abs(restored[..., 3:].astype(int) - bicubic).max() <= 1


class Context:
    def __init__(self, seconds):
        self.seconds = seconds

    def get_remaining_time_in_millis(self):
        return 1000 * self.seconds


def png(image):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_the_bundle_projects_as_restore_does_and_by_tiles(runtime, bundle, luma, tmp_path):
    low = photo(150, 70)
    plain, exact, tiled = (
        runtime.Restorer(bundle, threads=1, tile=tile, consistency=kind)(low)[0]
        for tile, kind in ((512, None), (512, "exact"), (72, "exact"))
    )
    assert runtime.Restorer(bundle, threads=1, tile=72, consistency="exact").tile < 150
    assert np.abs(tiled.astype(int) - exact).max() <= 1
    theirs = load_restorer(str(luma), device="cpu", consistency="exact")
    with torch.inference_mode():
        expected = theirs(to_tensor(low))
    assert np.abs(to_levels(expected, np.uint8).astype(int) - exact).max() <= 1
    assert theirs.kept(exact, low) > 55 > theirs.kept(plain, low) + 5, "decibels of what a file of 8 bits keeps"
    write_image(tmp_path / "low.png", low)
    words = [str(tmp_path / "low.png"), str(tmp_path / "high.png"), "--consistency", "exact"]
    assert runtime.main(words) == 0
    exact = runtime.Restorer(bundle, consistency="exact")(low)[0]  # of the tiles and threads that main takes
    assert np.array_equal(read_image(tmp_path / "high.png"), exact)
    body = base64.b64encode((tmp_path / "low.png").read_bytes()).decode()
    answer = runtime.handler({"body": body, "isBase64Encoded": True, "consistency": "exact"})
    assert np.array_equal(runtime.decode(base64.b64decode(answer["body"]))[0], exact)
    assert runtime.handler({"body": body, "isBase64Encoded": True, "consistency": "nearly"})["statusCode"] == 400


def test_the_handler_answers_within_its_time_or_says_that_it_did_not(runtime, luma, monkeypatch):
    image = photo(60, 80)
    event = {"body": png(image), "isBase64Encoded": True}
    answer = runtime.handler(event, Context(900))
    assert (answer["statusCode"], answer["headers"]["X-Restored-By"]) == (200, "model")
    restored, _ = runtime.decode(base64.b64decode(answer["body"]))
    assert np.abs(restored.astype(int) - sr_lab.load(luma)(image)).max() <= 1
    large = {"body": png(photo(200, 200)), "isBase64Encoded": True}
    answer = runtime.handler(large, Context(runtime.RESERVE))
    assert answer["headers"]["X-Restored-By"].startswith("bicubic: the time would not do")
    restored, _ = runtime.decode(base64.b64decode(answer["body"]))
    assert np.abs(restored.astype(int) - sr_lab.load("bicubic", scale=2)(photo(200, 200))).max() <= 1
    monkeypatch.setattr(runtime, "BODY_LIMIT", 2000)
    assert runtime.handler(event)["statusCode"] == 413
    assert "output_url" in runtime.handler(event)["body"]


@pytest.mark.parametrize(
    ("event", "status", "message"),
    [
        ({}, 400, "give an image"),
        ({"body": "%%%", "isBase64Encoded": True}, 400, "not base64"),
        ({"body": base64.b64encode(b"no image").decode(), "isBase64Encoded": True}, 400, "no image that can be read"),
        ({"body": "text"}, 400, "neither base64"),
        ({"input_url": "https://elsewhere.example/a.png"}, 403, "is not among RESTORE_HOSTS"),
        ({"body": json.dumps({"input_url": "file:///etc/passwd"})}, 400, "begins with https"),
    ],
)
def test_the_handler_refuses_with_a_reason(runtime, event, status, message):
    answer = runtime.handler(event)
    assert answer["statusCode"] == status
    assert message in json.loads(answer["body"])["error"]


def test_large_images_go_by_an_object_store(runtime, monkeypatch):
    stored = {"/low.png": base64.b64decode(png(photo(30, 40)))}
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Store(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(stored[self.path])

        def do_PUT(self):
            stored[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    monkeypatch.setenv("RESTORE_HOSTS", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), Store) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_address[1]}"
        answer = runtime.handler({"input_url": f"{place}/low.png", "output_url": f"{place}/high.png"})
        server.shutdown()
    assert answer["statusCode"] == 200, answer
    assert json.loads(answer["body"])["restored_by"] == "model"
    assert runtime.decode(stored["/high.png"])[0].shape == (60, 80, 3)


def test_a_graph_that_was_exchanged_is_not_loaded(runtime, bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "bundle")
    graph = tmp_path / "bundle" / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b"x")
    with pytest.raises(runtime.Refused, match=r"model.onnx is not the file that was exported") as caught:
        runtime.Restorer(tmp_path / "bundle", threads=1)
    assert caught.value.status == 500
    assert runtime.main([str(tmp_path / "low.png"), str(tmp_path / "high.png")]) == 1


def test_the_bundles_server_says_when_the_time_would_not_do_and_ends_when_it_has_answered(bundle):
    environment = {**os.environ, "PORT": "0", "RESTORE_BUDGET": "0.000001", "RESTORE_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, str(bundle / "restore.py"), "--serve", "8080"], text=True, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as server:  # fmt: skip
        try:
            address = server.stdout.readline().strip()
            with urllib.request.urlopen(f"{address}manifest.json", timeout=60) as answer:  # what platforms probe
                assert json.loads(answer.read())["scale"] == 2
            taken = http.client.HTTPConnection(address.split("/")[2], timeout=120)
            data = base64.b64decode(png(photo(700, 700)))
            taken.putrequest("POST", "/")
            taken.putheader("Content-Length", str(len(data)))
            taken.endheaders()
            taken.send(data[:-10])
            with urllib.request.urlopen(f"{address}manifest.json", timeout=60):
                pass  # this connection came later, so the other one has been taken
            server.send_signal(signal.SIGTERM)
            time.sleep(1.0)
            taken.send(data[-10:])
            answer = taken.getresponse()
            assert (answer.status, answer.headers["X-Restored-By"]) == (200, "bicubic")
            assert len(answer.read()) == int(answer.headers["Content-Length"])
            assert server.wait(120) == 0
        finally:
            server.kill()


SEVERAL = """
(async () => {
  const cancel = () => { %s };
  const files = [%s].map((text, at) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new File([bytes], `${at}.png`, { type: "image/png" });
  });
  const done = srlab.take(files);
  const shown = () => /, [23] of /.test(document.getElementById("which").textContent);
  while (files.length && !shown()) await new Promise((go) => setTimeout(go, 1));
  await new Promise((go) => setTimeout(go, 20));
  cancel();
  const count = await done;
  return [count, [...document.querySelectorAll("#saved a")].map((link) => link.textContent)];
})()
"""


@pytest.mark.skipif(browser.PROGRAM is None, reason="needs Chromium: apt install chromium")
@pytest.mark.skipif(web_folder() is None, reason="needs npm install --prefix .web onnxruntime-web, or SRLAB_WEB")
@pytest.mark.slow
def test_the_page_makes_the_image_of_python_and_can_be_cancelled(runtime, bundle, luma, tmp_path):
    started, servers = threading.Event(), []

    def ready(server):
        servers.append(server)
        started.set()

    serving = threading.Thread(target=lambda: runtime.serve(0, host="127.0.0.1", ready=ready), daemon=True)
    serving.start()
    assert started.wait(60)
    image = photo(90, 100)
    code = """
    (async () => {
      const bytes = Uint8Array.from(atob("%s"), (letter) => letter.charCodeAt(0));
      const done = srlab.restore(new File([bytes], "photo.png", { type: "image/png" }));
      %s
      const found = await done;
      const canvas = document.getElementById("after");
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let text = "";
      for (let at = 0; at < data.length; at += 32768) text += String.fromCharCode(...data.subarray(at, at + 32768));
      return [found.cancelled, found.tiles.length, canvas.width, canvas.height, btoa(text)];
    })()
    """
    with browser.browser(tmp_path / "profile") as page:
        page.open(f"http://127.0.0.1:{servers[0].server_address[1]}/")
        told = page.evaluate("srlab.ready")
        cancelled, num_tiles, width, height, pixels = page.evaluate(code % (png(image), ""))
        state = page.evaluate("document.getElementById('state').textContent")
        stopped = page.evaluate(code % (png(photo(300, 300)), "document.getElementById('cancel').click();"))
        small, large = png(photo(20, 24)), png(photo(300, 300))
        several = page.evaluate(SEVERAL % ("", f"'{small}', '{small}', '{small}'"))
        ended = page.evaluate(
            SEVERAL % ("document.getElementById('cancel').click();", f"'{small}', '{large}', '{small}'")
        )
        again = page.evaluate(code % (png(image), ""))  # what was cancelled leaves nothing behind
    servers[0].shutdown()
    assert several == [3, ["0.png", "1.png", "2.png"]]
    assert ended == [1, ["0.png"]], "the second is cancelled, the third never begun"
    assert again == [False, 4, width, height, pixels]
    assert told["isolated"]
    assert f"{told['threads']} thread" in state
    assert (cancelled, num_tiles, width, height) == (False, 4, 200, 180)
    ours = np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(height, width, 4)
    assert np.abs(ours[..., :3].astype(int) - sr_lab.load(luma)(image)).max() <= 1
    assert (ours[..., 3] == 255).all()
    assert stopped[0]
    assert stopped[1] < 25


def test_a_model_is_profiled_by_engine_and_size(colour, capsys):
    settings = ["sizes=[16,24]", "engines=[torch]", "num_runs=1", "prices.core_hour=3600"]
    assert main(["profile_model", f"restorer={colour}", *settings]) == 0
    told = capsys.readouterr().out
    assert "Compact x2, 3 channels: 2,292 parameters" in told
    assert "it can see 4 pixels to each side; tiles need 4 (measured)" in told
    rows = [line.split() for line in told.splitlines() if line.split()[:1] == ["torch"]]
    assert [row[1] for row in rows] == ["16x16", "24x24"]
    assert float(rows[0][6]) == pytest.approx(float(rows[0][7]), rel=0.1)  # a unit of money a second
    assert main(["profile_model", f"restorer={colour}", "engines=[cuda]"]) == 1


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    """An artefact of a network for clips."""
    edsr = {"_target_": "sr_lab.networks.edsr.EDSR", "scale": 2, "num_blocks": 1, "num_features": 8}
    flow = {"_target_": "sr_lab.networks.temporal.flow.DISFlow", "enlarge": 3}
    temporal = "sr_lab.networks.temporal.trusting.TrustingEDSR"
    node = {"_target_": temporal, "image": edsr, "flow": flow, "leak": 0.9, "damping": 0.9}
    torch.manual_seed(0)
    network = build_network(node)
    for layer in (network.recurrent, network.trust[-1]):
        torch.nn.init.normal_(layer.weight, std=0.03)
    folder = tmp_path_factory.mktemp("causal") / "best"
    return save_artefact(
        folder, network, config={"model": {"network": node}}, metadata={"commit": "c0ffee", "images": {}}
    )


@pytest.mark.parametrize(
    ("target", "precision"), [("onnx", "fp32"), ("onnx", "fp16"), ("openvino", "fp32"), ("openvino", "fp16")]
)
def test_a_step_of_a_network_for_clips_is_exported_and_compared_on_two_frames(target, precision, causal, tmp_path):
    for module in {"onnx": ["onnxruntime"], "openvino": ["openvino", "onnx"]}[target]:
        pytest.importorskip(module)
    given = [f"restorer={causal}", f"output={tmp_path / 'out'}", f"target={target}", f"precision={precision}"]
    assert main(["export", *given, "num_runs=1"]) == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert set(manifest["step"]["inputs"]) == {"low", "low_before", "restored_before", "flow", "same"}
    assert manifest["step"]["flow_enlarge"] == 3
    assert 0 < manifest["check"]["max"] < (1e-5 if precision == "fp32" else 1e-2)
    assert manifest["card"].startswith("Enlarges video by 2: TrustingEDSR of")


def test_an_exported_step_restores_video_as_its_network_does(causal, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("av")
    from clips import frames_of, write_clip

    assert main(["export", f"restorer={causal}", f"output={tmp_path / 'out'}", "num_runs=1"]) == 0
    clip = write_clip(tmp_path / "clip.mkv", frames=5, codec="ffv1", pix_fmt="yuv444p")
    shown = {}
    for name, words in {
        "network": [f"restorer={causal}", "engine=torch"],
        "engine": [f"restorer={causal}", "engine=onnx"],
        "export": [f"restorer={tmp_path / 'out'}"],
    }.items():
        large = tmp_path / f"{name}.mkv"
        assert main(["restore", f"input={clip}", f"output={large}", "video.codec=ffv1", *words]) == 0
        shown[name] = np.stack(frames_of(large)).astype(int)
    for name in ("engine", "export"):
        assert np.abs(shown[name] - shown["network"]).max() <= 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["target=ncnn"], "target=ncnn: give onnx or openvino"),
        (["target=bundle"], "target=bundle: give onnx or openvino"),
        (["precision=int8"], "precision=int8: give fp32 or fp16"),
        (["size=[32,32]"], "the graph of a step takes any size"),
    ],
)
def test_what_there_is_not_for_a_step_is_refused(words, said, causal, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ncnn")
    assert main(["export", f"restorer={causal}", f"output={tmp_path / 'out'}", *words]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
