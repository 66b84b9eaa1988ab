"""What a restoration keeps for the next one: the engine's files, how far the network sees, and so no PyTorch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sr_lab
from sr_lab.artefacts.artefact import build_network, save_artefact
from sr_lab.base.places import user_cache
from sr_lab.cli import main
from sr_lab.images import read_image, resize_bicubic, write_image
from sr_lab.images.plain import bicubic
from sr_lab.inference import halo
from sr_lab.inference.restorers import NetworkRestorer
from sr_lab.networks.compact import Compact
from sr_lab.workflows import kept, load, restore

WITHOUT = "import sys; sys.modules['torch'] = None; from sr_lab.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SRLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def luma(tmp_path):
    node = {"_target_": "sr_lab.networks.fsrcnn.FSRCNN", "scale": 2, "num_channels": 1}
    torch.manual_seed(0)
    return save_artefact(tmp_path / "luma", build_network(node), config={"model": {"network": node}}, metadata={})


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture
def photos(tmp_path):
    for name, shape in {"colour": (90, 61, 3), "grey": (40, 50, 1), "tiny": (1, 2, 3)}.items():
        write_image(tmp_path / "low" / f"{name}.png", noise(*shape))
    return tmp_path / "low"


@pytest.mark.parametrize("engine", ["onnx", "openvino", "ncnn"])
def test_the_files_of_an_engine_make_the_image_of_pytorch(engine, luma, photos, cache, tmp_path):
    for module in {"onnx": ["onnxruntime", "onnx"], "openvino": ["openvino", "onnx"], "ncnn": ["ncnn"]}[engine]:
        pytest.importorskip(module)
    for name, words in {"first": [], "again": [], "torch": ["engine=torch"]}.items():
        settings = [f"input={photos}", f"output={tmp_path / name}", f"restorer={luma}", "tile=48", f"engine={engine}"]
        assert main(["restore", *settings, *words]) == 0
    for file in photos.iterdir():
        first, again, plain = (
            read_image(tmp_path / name / file.name).astype(int) for name in ("first", "again", "torch")
        )
        assert np.array_equal(first, again)
        assert np.abs(first - plain).max() <= 1
        assert (first != plain).mean() < 1e-3


def test_the_second_restoration_loads_no_pytorch(luma, photos, cache, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # what other tests left here, there too
    words = ["restore", f"input={photos / 'colour.png'}", f"restorer={luma}", "engine=onnx"]
    assert main([*words, f"output={tmp_path / 'first.png'}"]) == 0
    (folder,) = (user_cache() / "engines").iterdir()
    assert json.loads((folder / "facts.json").read_text())["engine"] == "onnx"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *words, f"output={tmp_path / 'again.png'}"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert np.array_equal(read_image(tmp_path / "first.png"), read_image(tmp_path / "again.png"))


def test_what_is_kept_and_damaged_is_made_again(luma, cache):
    pytest.importorskip("onnxruntime")
    settings = {"scale": 2, "engine": "onnx", "tile": None, "overlap": None}
    tile = np.random.default_rng(0).random((1, 1, 9, 8), dtype=np.float32)
    expected = kept.kept_restorer(str(luma), **settings).window(tile)
    (folder,) = (cache / "engines").iterdir()
    (folder / "model.onnx").write_bytes(b"half of it")
    assert np.array_equal(kept.kept_restorer(str(luma), **settings).window(tile), expected)
    assert (folder / "model.onnx").stat().st_size > 100


def test_other_weights_are_measured_for_themselves(luma, cache, tmp_path):
    pytest.importorskip("onnxruntime")
    node = {"_target_": "sr_lab.networks.fsrcnn.FSRCNN", "scale": 2, "num_channels": 1}
    torch.manual_seed(1)
    save_artefact(tmp_path / "other", build_network(node), config={"model": {"network": node}}, metadata={})
    settings = {"scale": 2, "engine": "onnx", "tile": None, "overlap": None}
    tile = np.random.default_rng(0).random((1, 1, 9, 8), dtype=np.float32)
    one, other = (kept.kept_restorer(str(name), **settings).window(tile) for name in (luma, tmp_path / "other"))
    assert not np.allclose(one, other)
    assert len(list((cache / "engines").iterdir())) == 2


def test_auto_says_its_choice_once(luma, photos, cache, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    words = ["restore", f"input={photos / 'tiny.png'}", f"restorer={luma}"]
    assert main([*words, f"output={tmp_path / 'a.png'}"]) == 0
    assert "the fastest of those that fit" in capsys.readouterr().err
    assert main([*words, f"output={tmp_path / 'b.png'}"]) == 0
    assert capsys.readouterr().err == ""


def test_how_far_a_network_sees_is_measured_once(cache, monkeypatch):
    torch.manual_seed(0)
    network = Compact(scale=2, num_features=4, num_convs=1)
    first = NetworkRestorer(network).halo
    monkeypatch.setattr(halo, "measure_halo", lambda *_, **__: pytest.fail("measured again"))
    assert NetworkRestorer(network).halo == first
    (file,) = (cache / "halos").iterdir()
    file.write_text("{")
    monkeypatch.setattr(halo, "measure_halo", lambda *_, **__: halo.Halo(7, 0.0, True))
    assert NetworkRestorer(network).halo.pixels == 7, "what is not whole is measured again"


def test_the_scale_is_read_and_nothing_is_loaded_for_it(luma, monkeypatch):
    monkeypatch.setattr(load, "fetch_artefact", lambda *_, **__: pytest.fail("loaded"))
    assert restore.network_scale(str(luma), None) == 2
    assert restore.network_scale(str(luma), 3.5) == 2
    assert restore.network_scale("edge_x3", None) == 3


def test_public_weights_are_loaded_once(tmp_path, photos, monkeypatch):
    torch.save(Compact(scale=2, num_features=4, num_convs=1).state_dict(), tmp_path / "weights.pth")
    loaded, fetch = [], load.fetch_artefact
    monkeypatch.setattr(load, "fetch_artefact", lambda *args, **more: loaded.append(args) or fetch(*args, **more))
    words = [f"input={photos}", f"output={tmp_path / 'out'}", f"restorer={tmp_path / 'weights.pth'}", "engine=torch"]
    assert main(["restore", *words]) == 0
    assert len(loaded) == 1


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (16, 33), (61, 48)])
def test_enlargement_without_pytorch_is_the_same(scale, size):
    low = np.random.default_rng(0).random((1, 3, *size), dtype=np.float32)
    expected = resize_bicubic(torch.from_numpy(low), scale=float(scale)).numpy()
    assert np.abs(bicubic(low, scale) - expected).max() < 2e-6


def test_python_gets_the_same_image(luma, photos, cache, tmp_path):
    pytest.importorskip("onnxruntime")
    sr_lab.restore(input=str(photos), output=str(tmp_path / "out"), restorer=str(luma), engine="onnx")
    assert len(list(Path(tmp_path / "out").glob("*.png"))) == 3
