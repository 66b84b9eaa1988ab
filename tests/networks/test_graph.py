import struct
import threading

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from sr_lab.networks.base import Network
from sr_lab.networks.bicubic import Bicubic
from sr_lab.networks.compact import Compact
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.fsrcnn import FSRCNN
from sr_lab.networks.graph import NotPlain, plain_layers
from sr_lab.networks.graph.ncnn import ncnn_files
from sr_lab.networks.graph.network import GraphNetwork
from sr_lab.networks.graph.onnx import onnx_model
from sr_lab.networks.rdn import RDN
from sr_lab.networks.rrdb import RRDBNet
from sr_lab.networks.swinir import SwinIR

NETWORKS = {
    "compact": lambda: Compact(scale=4, num_features=8, num_convs=2),
    "edsr": lambda: EDSR(scale=3, num_channels=1, num_blocks=2, num_features=8, res_scale=0.1),
    "fsrcnn": lambda: FSRCNN(scale=3, num_channels=1),
    "fsrcnn_rgb": lambda: FSRCNN(scale=2),
    "rrdb": lambda: RRDBNet(scale=4, num_blocks=1, num_features=8, growth=4),
    "rdn": lambda: RDN(scale=2, num_blocks=2, num_layers=2, growth=4, num_features=8),
}


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_computes_what_the_network_computes(name, half):
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    network = NETWORKS[name]().eval()
    model = onnx_model(plain_layers(network), half=half)
    onnx.checker.check_model(model, full_check=True)
    low = torch.rand(1, network.num_channels, 7, 9)
    with torch.no_grad():
        expected = network(low).numpy()
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    restored = session.run(None, {"low": low.numpy()})[0]
    assert np.abs(restored - expected).max() < (2e-3 if half else 2e-6)
    if name == "compact":  # and by the definition of ONNX
        reference = ReferenceEvaluator(model).run(None, {"low": low.numpy()})[0]
        assert np.abs(reference - restored).max() < 2e-6


def test_half_weights_take_half_of_the_file():
    pytest.importorskip("onnx")
    plain = plain_layers(NETWORKS["rrdb"]())
    sizes = [len(onnx_model(plain, half=half).SerializeToString()) for half in (False, True)]
    weights = sum(array.size for layer in plain.layers for array in layer.arrays.values())
    assert sizes[0] - sizes[1] > weights  # 2 of 4 bytes each, less the casts


def test_a_fixed_size_is_said_by_the_graph():
    pytest.importorskip("onnx")
    model = onnx_model(plain_layers(NETWORKS["fsrcnn"]()), size=(16, 24))
    shape = [axis.dim_value or axis.dim_param for axis in model.graph.output[0].type.tensor_type.shape.dim]
    assert shape == ["batch", 1, 48, 72]


def test_ncnn_files_say_what_they_hold():
    param, weights = ncnn_files(plain_layers(Compact(scale=2, num_channels=1, num_features=4, num_convs=1)))
    head, counts, *layers = param.splitlines()
    assert (head, counts) == ("7767517", f"{len(layers)} {len(layers) + 1}")
    assert layers[1] == "Split split_low 1 2 low low_0 low_1"
    assert layers[-1] == "BinaryOp restored_layer 2 1 v5 v6 restored 0=0"
    (tag,) = struct.unpack_from("<I", weights)
    assert tag == 0
    assert len(weights) == 4 * (3 + 36 + 4 + 4 + 144 + 4 + 4 + 144 + 4)


class Repeats(Network):
    """A skip by repeated channels, as edge networks have it."""

    def __init__(self) -> None:
        super().__init__(scale=2, num_channels=3)
        self.body = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, low: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.body(low) + torch.repeat_interleave(low, 4, dim=1), 2)


def test_a_skip_of_repeated_channels_is_plain():
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    network = Repeats()
    session = ort.InferenceSession(onnx_model(plain_layers(network)).SerializeToString())
    low = torch.rand(2, 3, 5, 6)
    assert np.abs(session.run(None, {"low": low.numpy()})[0] - network(low).detach().numpy()).max() < 1e-6


@pytest.mark.parametrize(
    "network",
    [
        SwinIR(scale=2, num_features=12, num_groups=1, num_layers=2, num_heads=2, window=4, mlp_ratio=2.0),
        RRDBNet(scale=2, num_blocks=1, num_features=8, growth=4),
        Bicubic(scale=2, num_channels=3),
    ],
    ids=lambda network: type(network).__name__,
)
def test_what_is_not_plain_is_named(network):
    with pytest.raises(NotPlain, match=type(network).__name__):
        plain_layers(network)


def test_a_graph_is_not_traced_but_refused():
    with pytest.raises(NotPlain, match="GraphNetwork is not a chain of plain layers: an ONNX graph is no module"):
        plain_layers(GraphNetwork(scale=2, num_channels=1, num_bytes=3))


class Watched(Compact):
    """While it is traced, another thread runs a network."""

    def __init__(self) -> None:
        super().__init__(scale=2, num_channels=1, num_features=4, num_convs=1)
        self.found: list[object] = []

    def forward(self, low):
        if isinstance(low, fx.Proxy):
            thread = threading.Thread(target=self.elsewhere)
            thread.start()
            thread.join()
        return super().forward(low)

    def elsewhere(self) -> None:
        other = Compact(scale=2, num_channels=1, num_features=4, num_convs=1)
        try:
            with torch.no_grad():
                self.found += [other(torch.zeros(1, 1, 4, 4)).shape, type(other.scale), other.body[0].weight]
        except Exception as error:
            self.found.append(error)


def test_a_network_is_traced_while_another_answers() -> None:
    network = Watched()
    kinds = [layer.kind for layer in plain_layers(network).layers]
    assert kinds == ["conv", "prelu", "conv", "prelu", "conv", "pixel_shuffle", "nearest", "add"]
    shape, kind, weight = network.found
    assert (shape, kind, type(weight)) == ((1, 1, 8, 8), int, torch.nn.Parameter)
