import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from sr_lab.inference.engines import ENGINES, Engine, EngineNetwork, UnfitEngine, choose, choose_engine, make_engine
from sr_lab.inference.restorers import NetworkRestorer
from sr_lab.inference.runtimes import OpenVinoGraphs
from sr_lab.networks.compact import Compact
from sr_lab.networks.fsrcnn import FSRCNN
from sr_lab.networks.swinir import SwinIR


def needs(name):
    for module in ENGINES[name].modules:
        pytest.importorskip(module, reason=f"needs pip install 'sr-lab[{name}]'")


@pytest.fixture
def network():
    return Compact(scale=2, num_features=6, num_convs=2).eval()


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_makes_the_image_of_pytorch(name, network):
    needs(name)
    engine = make_engine(network, name, threads=1)
    assert ENGINES[name].version().split()[0] == ENGINES[name].packages[0]
    for shape in ((1, 3, 17, 21), (3, 3, 12, 8)):
        tile = np.random.default_rng(1).random(shape, dtype=np.float32)
        before = tile.copy()
        restored = engine(tile)
        with torch.inference_mode():
            expected = network(torch.from_numpy(tile)).numpy()
        assert restored.dtype == np.float32
        assert np.abs(restored - expected).max() < 2e-6
        assert np.array_equal(tile, before)
        assert np.abs(engine(tile[:1]) - restored[:1]).max() < 1e-6  # whatever else is in the batch


def test_openvino_compiles_once_for_all_sizes_and_makes_the_image_of_a_graph_for_each(network):
    needs("openvino")
    engine, compiled = make_engine(network, "openvino", threads=1), []
    graphs = engine.graphs
    one = OpenVinoGraphs(graphs.model, threads=1)
    graphs._compile, compile = lambda shape: (compiled.append(shape), compile(shape))[1], graphs._compile
    draw, found = np.random.default_rng(1), []
    sizes = ((1, 1), (1, 40), (33, 1), (2, 3), (17, 31), (32, 32), (31, 64), (65, 47))
    tiles = [draw.random((1, 3, *size), dtype=np.float32) for size in sizes]
    for tile in tiles:
        found.append(engine(tile))
        assert np.abs(found[-1] - one._compile(list(tile.shape))(tile)[0]).max() < 1e-6
    for tile, before in zip(tiles, found, strict=True):
        assert np.array_equal(engine(tile), before)  # to the bit, whatever sizes came before
    assert compiled == []  # made and seen to compute the network's image before


@pytest.mark.parametrize("name", ENGINES)
def test_a_restorer_takes_an_engine_for_its_network(name):
    needs(name)
    network = FSRCNN(scale=3, num_channels=1).eval()
    low = torch.rand(1, 3, 20, 30)
    with torch.inference_mode():
        plain = NetworkRestorer(network)(low)
        ours = NetworkRestorer(EngineNetwork(network, make_engine(network, name)))(low)
    assert float((plain - ours).abs().max()) < 2e-6


def test_auto_takes_the_fastest_and_keeps_the_choice(network, tmp_path, monkeypatch):
    times = {"torch": 3.0, "onnx": 1.0, "openvino": 2.0, "ncnn": 4.0}
    monkeypatch.setattr(choose, "_seconds", lambda engine, tile: times[engine.name])
    engine, choice = choose_engine(network, threads=1, folder=tmp_path)
    fitting = {name: times[name] for name, kind in ENGINES.items() if kind.available()}
    assert engine.name == choice.name == min(fitting, key=fitting.get)
    assert choice.measured
    assert dict(choice.seconds) == fitting
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["name"] == choice.name
    again, known = choose_engine(network, threads=1, folder=tmp_path)
    assert (again.name, known.measured) == (choice.name, False)
    choose_engine(network, threads=2, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # for other cores it is measured again


class Wrong(Engine):
    """Computes another image."""

    name, packages, modules = "wrong", ("numpy",), ("numpy",)

    def build(self, network):
        self.scale = network.scale

    def __call__(self, tile):
        return tile.repeat(self.scale, -1).repeat(self.scale, -2)


def test_an_engine_that_computes_another_image_is_refused_by_name_and_passed_over_by_auto(
    network, tmp_path, monkeypatch
):
    monkeypatch.setattr(choose, "ENGINES", {"torch": ENGINES["torch"], "wrong": Wrong})
    with pytest.raises(UnfitEngine, match="engine=wrong computes another image than PyTorch"):
        make_engine(network, "wrong")
    engine, choice = choose_engine(network, threads=1, folder=tmp_path)
    assert engine.name == "torch"
    assert "another image" in choice.unfit["wrong"]


def test_a_network_that_no_graph_holds_stays_with_pytorch(tmp_path):
    needs("onnx")
    swin = SwinIR(scale=2, num_features=12, num_groups=1, num_layers=2, num_heads=2, window=4, mlp_ratio=2.0).eval()
    with pytest.raises(UnfitEngine, match="engine=onnx cannot hold this network: SwinIR"):
        make_engine(swin, "onnx")
    engine, choice = choose_engine(swin, threads=1, folder=tmp_path)
    assert engine.name == "torch"
    assert "SwinIR" in choice.unfit["onnx"]


def test_a_missing_engine_names_its_extra(network, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ncnn" else find(name))
    with pytest.raises(UnfitEngine, match=r"ncnn is not installed: pip install 'sr-lab\[ncnn\]'"):
        make_engine(network, "ncnn")
    with pytest.raises(ValueError, match="engine=tensorrt: auto, torch, onnx, openvino, ncnn"):
        make_engine(network, "tensorrt")


LET_GO = """
import os, signal, sys, threading
import numpy as np
import onnx
from onnx import TensorProto, helper
from sr_lab.inference.runtimes import OpenVinoGraphs

low, high = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("low", "high"))
graph = helper.make_graph([helper.make_node("Relu", ["low"], ["high"])], "graph", [low, high][:1], [high])
engine = [OpenVinoGraphs(helper.make_model(graph).SerializeToString(), threads=1)]
engine[0](np.zeros((1, 3, 8, 8), np.float32))
other = threading.Thread(target=engine.clear)
other.start()
other.join()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_after_openvino_was_let_go_in_another_thread_is_survived():
    pytest.importorskip("openvino")
    pytest.importorskip("onnx")
    assert subprocess.run([sys.executable, "-c", LET_GO], check=False).returncode == 7
