"""Files of public weights, scored and fine-tuned: our layouts, wrappers, and what is no file of weights."""

from pathlib import Path
from typing import Any

import pytest
import torch

from sr_lab.artefacts.artefact import load_artefact
from sr_lab.artefacts.public import load_public, weights_for
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.keys import public_state_dict, read_weights, unwrap, warm_start
from sr_lab.networks.rdn import RDN
from sr_lab.networks.srcnn import SRCNN
from sr_lab.workflows.load import load_restorer

EDSR_SIZES: dict[str, Any] = {"num_blocks": 2, "num_features": 8}
RDN_SIZES: dict[str, Any] = {"num_blocks": 2, "num_layers": 3, "growth": 4, "num_features": 8}
CASES = [
    *(("EDSR-PyTorch", EDSR, {"scale": scale, **EDSR_SIZES}) for scale in (2, 3, 4)),
    ("BasicSR", EDSR, {"scale": 4, **EDSR_SIZES}),
    ("EDSR-PyTorch", EDSR, {"scale": 2, "num_channels": 1, **EDSR_SIZES}),
    *(("EDSR-PyTorch", RDN, {"scale": scale, **RDN_SIZES}) for scale in (2, 3, 4)),
    ("RDN-pytorch", RDN, {"scale": 4, **RDN_SIZES, "value_range": 1.0}),
    ("EDSR-PyTorch", EDSR, {"scale": 2, **EDSR_SIZES, "value_range": 1.0, "mean": [0.4, 0.5, 0.6]}),
    ("SRCNN-pytorch", SRCNN, {"scale": 3, "num_channels": 1, "num_features": (8, 4), "kernels": (9, 5, 5)}),
]


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
        load_public(tmp_path / "srcnn.pth")


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
        load_public(tmp_path / "a.pth")


def test_what_is_no_file_of_weights_is_called_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    texts = {
        b"\n<!DOCTYPE html><html>": "is a web page and no file of weights",
        b"version https://git-lfs.github.com/spec/v1\n": "git lfs pull",
        b"404: Not Found\n": "is a text file and no file of weights .*fetch the file itself",
        b"": "is empty: fetch it again",
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
    left = warm_start(network, weights_for(tmp_path / "x.pth", network, node))
    assert all(name.startswith("upsampler.") for name in left)
    assert torch.equal(network.body[0].body[0].weight, trained.body[0].body[0].weight)
    with pytest.raises(ValueError, match="do not fit this EDSR"):
        weights_for(tmp_path / "x.pth", EDSR(scale=target, num_blocks=3, num_features=8), node | {"num_blocks": 3})


def test_the_content_of_a_file_counts_and_not_its_suffix(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {"a.weight": torch.ones(2)}
    save_file(state, tmp_path / "a.pth")
    torch.save(state, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        assert torch.equal(read_weights(tmp_path / name)["a.weight"], state["a.weight"])
