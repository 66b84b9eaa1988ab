"""Files of public weights, scored and fine-tuned: our layouts, wrappers, and what is no file of weights."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sr_lab.artefacts.artefact import load_artefact, save_artefact
from sr_lab.artefacts.public import load_file, starting_weights
from sr_lab.networks.compact import Compact
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.fsrcnn import FSRCNN
from sr_lab.networks.keys import public_state_dict, read_weights, unwrap, warm_start
from sr_lab.networks.rdn import RDN
from sr_lab.networks.rrdb import RRDBNet
from sr_lab.networks.srcnn import SRCNN
from sr_lab.networks.swinir import SwinIR
from sr_lab.workflows.load import load_restorer

EDSR_SIZES: dict[str, Any] = {"num_blocks": 2, "num_features": 8}
SMALL_RRDB: dict[str, Any] = {"num_blocks": 2, "num_features": 8, "growth": 4}
SMALL_FSRCNN: dict[str, Any] = {"num_channels": 1, "num_features": 8, "num_shrunk": 5, "num_mapping": 2}
SMALL_SWIN: dict[str, Any] = {"num_features": 12, "num_groups": 2, "num_layers": 2, "num_heads": 3, "window": 4}
RDN_SIZES: dict[str, Any] = {"num_blocks": 2, "num_layers": 3, "growth": 4, "num_features": 8}
CASES = [
    *(("EDSR-PyTorch", EDSR, {"scale": scale, **EDSR_SIZES}) for scale in (2, 3, 4)),
    ("BasicSR", EDSR, {"scale": 4, **EDSR_SIZES}),
    ("EDSR-PyTorch", EDSR, {"scale": 2, "num_channels": 1, **EDSR_SIZES}),
    *(("EDSR-PyTorch", RDN, {"scale": scale, **RDN_SIZES}) for scale in (2, 3, 4)),
    ("RDN-pytorch", RDN, {"scale": 4, **RDN_SIZES, "value_range": 1.0}),
    ("EDSR-PyTorch", EDSR, {"scale": 2, **EDSR_SIZES, "value_range": 1.0, "mean": [0.4, 0.5, 0.6]}),
    ("SRCNN-pytorch", SRCNN, {"scale": 3, "num_channels": 1, "num_features": (8, 4), "kernels": (9, 5, 5)}),
    ("MMagic", EDSR, {"scale": 4, **EDSR_SIZES, "value_range": 1.0}),
    ("FSRCNN-pytorch", FSRCNN, {"scale": 3, **SMALL_FSRCNN}),
    ("FSRCNN of Lornatang", FSRCNN, {"scale": 2, **SMALL_FSRCNN}),
    ("ESRGAN", RRDBNet, {"scale": 4, **SMALL_RRDB}),
    ("ESRGAN (old)", RRDBNet, {"scale": 4, **SMALL_RRDB}),
    ("ESRGAN (old)", RRDBNet, {"scale": 8, **SMALL_RRDB}),
    *(("BasicSR", RRDBNet, {"scale": scale, **SMALL_RRDB}) for scale in (1, 2, 4)),
    ("Real-ESRGAN", Compact, {"scale": 4, "num_features": 8, "num_convs": 3}),
    ("Real-ESRGAN", Compact, {"scale": 1, "num_channels": 1, "num_features": 8, "num_convs": 1}),
    ("SwinIR", SwinIR, {"scale": 3, "mlp_ratio": 1.5, **SMALL_SWIN}),
]


@pytest.fixture(autouse=True)
def _without_spandrel(monkeypatch: pytest.MonkeyPatch) -> None:
    """What we know by heart needs no other package."""
    monkeypatch.setitem(sys.modules, "spandrel", None)


@pytest.mark.parametrize(("layout", "kind", "sizes"), CASES)
def test_a_file_of_the_authors_is_restored_with(layout: str, kind: Any, sizes: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = kind(**sizes).eval()
    file = tmp_path / "model.PTH"
    torch.save(public_state_dict(network, layout), file)
    restorer = load_restorer(str(file), scale=sizes["scale"], device="cpu")
    low = torch.rand(1, network.num_channels, 7, 9)
    with torch.no_grad():
        torch.testing.assert_close(restorer(low), network(low))
    assert restorer.scale == sizes["scale"]


def test_what_srcnn_does_not_tell_is_asked_for(tmp_path: Path) -> None:
    torch.save(public_state_dict(SRCNN(scale=2), "SRCNN-pytorch"), tmp_path / "srcnn.pth")
    with pytest.raises(ValueError, match=r"srcnn\.pth: these are weights of SRCNN.*give scale="):
        load_file(tmp_path / "srcnn.pth")


def test_wide_networks_scale_their_residuals_as_published() -> None:
    from sr_lab.networks.public import network_node

    for features, expected in ((64, 1.0), (256, 0.1)):
        with torch.device("meta"):
            state = EDSR(scale=2, num_blocks=1, num_features=features).state_dict()
        node = network_node(state)
        assert node is not None
        assert node["res_scale"] == expected


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"params-ema": state, "params": {}},
        lambda state: {"netG": state, "netD": {"a": torch.zeros(1)}, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {"generator_ema": state, "generator": {"x": torch.zeros(1)}},
        lambda state: {"checkpoint_of": 1, "state_dict": {"model": state}},
        lambda state: {f"module._orig_mod.{key}": value for key, value in state.items()},
        lambda state: {"generator.": 0} | {f"generator.{key}": value for key, value in state.items()}
        | {"discriminator.a": torch.zeros(1)},
    ],
)  # fmt: skip
def test_wrappers_are_taken_off(wrap: Any) -> None:
    state = {"a.weight": torch.ones(2), "b.bias": torch.zeros(1)}
    assert unwrap(wrap(state)).keys() == state.keys()


def test_a_checkpoint_without_weights_lists_what_it_holds(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "losses": [1.0]}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth: no weights are found in it: its top-level keys are epoch, losses"):
        load_file(tmp_path / "a.pth")


def test_what_is_no_file_of_weights_is_called_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    texts = {
        b"\n<!DOCTYPE html><html>": "is a web page and no file of weights",
        b"version https://git-lfs.github.com/spec/v1\n": "git lfs pull",
        b"404: Not Found\n": "is a text file and no file of weights .*fetch the file itself",
        b"": "is empty: fetch it again",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR": "is an image and no file of weights",
        bytes(range(256)) * 4: "is damaged|does not hold weights alone",
    }
    for content, words in texts.items():
        file.write_bytes(content)
        for read in (read_weights, load_artefact):
            with pytest.raises(ValueError, match=words) as caught:
                read(file)
            assert "weights_only" not in str(caught.value)
    torch.save(SRCNN(scale=2), file)
    with pytest.raises(ValueError, match=r"does not hold weights alone.*state_dict\(\)") as caught:
        read_weights(file)
    assert "weights_only" not in str(caught.value), "torch's advice to turn its safety off is not repeated"


@pytest.mark.parametrize(("source", "target"), [(2, 4), (4, 2), (2, 3), (3, 2)])
def test_public_weights_of_another_scale_start_a_training(source: int, target: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = EDSR(scale=source, **EDSR_SIZES)
    torch.save(public_state_dict(trained, "EDSR-PyTorch"), tmp_path / "x.pth")
    network = EDSR(scale=target, **EDSR_SIZES)
    node = {"_target_": "sr_lab.networks.edsr.EDSR", "scale": target, **EDSR_SIZES}
    weights, ours = starting_weights(tmp_path / "x.pth", network, node)
    left = warm_start(network, weights)
    assert ours is None
    assert all(name.startswith("upsampler.") for name in left)
    assert torch.equal(network.body[0].body[0].weight, trained.body[0].body[0].weight)
    with pytest.raises(ValueError, match="do not fit this EDSR"):
        starting_weights(tmp_path / "x.pth", EDSR(scale=target, num_blocks=3, num_features=8), node | {"num_blocks": 3})


def test_the_content_of_a_file_counts_and_not_its_suffix(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {"a.weight": torch.ones(2)}
    save_file(state, tmp_path / "a.pth")
    torch.save(state, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        assert torch.equal(read_weights(tmp_path / name)["a.weight"], state["a.weight"])


@pytest.mark.parametrize("name", ["model.", "network.", "net.", "module.net_g.", "model.module."])
@pytest.mark.parametrize(
    ("layout", "network"),
    [("BasicSR", EDSR(scale=2, **EDSR_SIZES)), ("ESRGAN (old)", RRDBNet(scale=4, **SMALL_RRDB)),
     ("FSRCNN-pytorch", FSRCNN(scale=2, **SMALL_FSRCNN))],
)  # fmt: skip
def test_a_trainer_s_module_is_looked_into(name: str, layout: str, network: Any, tmp_path: Path) -> None:
    state = {f"{name}{key}": value for key, value in public_state_dict(network, layout).items()}
    state |= {"perceptual.vgg.features.0.weight": torch.zeros(3, 3, 3, 3)} if "module" not in name else {}
    torch.save({"epoch": 3, "pytorch-lightning_version": "2.4.0", "state_dict": state}, tmp_path / "last.ckpt")
    restored = load_file(tmp_path / "last.ckpt", scale=network.scale).network
    assert type(restored) is type(network)
    assert all(torch.equal(value, restored.state_dict()[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("name", ["x.bin", "x.pth.tar", "x.ckpt", "x", "x.model", "weights.safetensors"])
def test_any_suffix_will_do(name: str, tmp_path: Path) -> None:
    torch.save(public_state_dict(EDSR(scale=2, **EDSR_SIZES), "EDSR-PyTorch"), tmp_path / name)
    assert load_restorer(str(tmp_path / name), device="cpu").scale == 2


def test_a_file_of_ours_keeps_its_history_under_any_name(tmp_path: Path) -> None:
    network = EDSR(scale=2, **EDSR_SIZES)
    node = {"_target_": "sr_lab.networks.edsr.EDSR", "scale": 2, **EDSR_SIZES}
    save_artefact(tmp_path / "best", network, config={"model": {"network": node}}, metadata={"images": {"train": []}})
    weights = tmp_path / "best" / "weights.safetensors"
    assert load_file(weights).metadata["images"] == {"train": []}
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    record = {"network": node, "config": {"model": {"network": node}}, "images": {"train": ["a"]}}
    torch.save({"sr_lab": record, "state_dict": state, "global_step": 3}, tmp_path / "mine.pth")
    assert load_file(tmp_path / "mine.pth").metadata["images"] == {"train": ["a"]}
    for file in (weights, tmp_path / "mine.pth"):
        _, ours = starting_weights(file, network, node)
        assert ours is not None
        assert "images" in ours, "a training that starts from it has seen what it has seen"
