"""``srlab interpolate``, and evaluating ensembles, as a user calls them."""

import json
from pathlib import Path

import pytest
import torch

from sr_lab.artefacts.artefact import load_artefact, save_artefact
from sr_lab.cli import main
from sr_lab.images import write_image
from sr_lab.networks.compact import Compact
from sr_lab.networks.fsrcnn import FSRCNN
from sr_lab.networks.keys import public_state_dict

NETWORK = {"scale": 2, "num_channels": 3, "num_features": 6, "num_shrunk": 4, "num_mapping": 1}


def save(folder: Path, *, seed: int, images: dict | None = None, **changes) -> Path:
    torch.manual_seed(seed)
    node = {"_target_": "sr_lab.networks.fsrcnn.FSRCNN", **NETWORK, **changes}
    losses = {"perceptual": {"backbone": "vgg19"}} if seed else {"l1": {}}
    metadata = {"images": images}
    network = FSRCNN(**{**NETWORK, **changes})
    return save_artefact(folder, network, config={"model": {"network": node}, "losses": losses}, metadata=metadata)


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    first = save(tmp_path / "a", seed=0, images={"train": ["x"], "val": ["v"]})
    return [first, save(tmp_path / "b", seed=1, images={"train": ["y", "x"], "val": ["v"]})]


def test_interpolated_artefact_lies_between_and_names_its_parents(pair: list[Path], tmp_path: Path) -> None:
    names = ",".join(map(str, pair))
    assert main(["interpolate", f"artefacts=[{names}]", "weights=[0.25,0.75]", f"output={tmp_path / 'mixed'}"]) == 0
    a, b, mixed = (load_artefact(path) for path in [*pair, tmp_path / "mixed"])
    for key, value in mixed.network.state_dict().items():
        expected = 0.25 * a.network.state_dict()[key] + 0.75 * b.network.state_dict()[key]
        torch.testing.assert_close(value, expected)
    assert [parent["weight"] for parent in mixed.metadata["parents"]] == [0.25, 0.75]
    assert mixed.metadata["parents"][1]["weights"] == b.metadata["sha256"]["weights.safetensors"]
    assert mixed.metadata["images"] == {"train": ["x", "y"], "val": ["v"]}
    assert {"0_l1", "1_perceptual"} == mixed.config["losses"].keys()


def test_images_that_one_parent_does_not_know_stay_unknown(pair: list[Path], tmp_path: Path) -> None:
    third = save(tmp_path / "c", seed=2)
    names = ",".join(map(str, [*pair, third]))
    assert main(["interpolate", f"artefacts=[{names}]", f"output={tmp_path / 'mean'}"]) == 0
    assert load_artefact(tmp_path / "mean").metadata["images"] is None


def test_public_weights_are_interpolated_and_what_they_have_seen_is_not_known(tmp_path: Path) -> None:
    files = [tmp_path / "psnr.pth", tmp_path / "gan.pth"]
    states = []
    for seed, file in enumerate(files):
        torch.manual_seed(seed)
        network = Compact(scale=2, num_features=8, num_convs=2)
        states.append(network.state_dict())
        torch.save({"params": public_state_dict(network, "Real-ESRGAN")}, file)
    names = ",".join(map(str, files))
    assert main(["interpolate", f"artefacts=[{names}]", f"output={tmp_path / 'mixed'}"]) == 0
    mixed = load_artefact(tmp_path / "mixed")
    for key, value in mixed.network.state_dict().items():
        torch.testing.assert_close(value, (states[0][key] + states[1][key]) / 2)
    assert mixed.metadata["images"] is None


def test_other_architectures_are_refused(pair: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wide = save(tmp_path / "wide", seed=0, num_features=8)
    assert main(["interpolate", f"artefacts=[{pair[0]},{wide}]", f"output={tmp_path / 'mixed'}"]) == 1
    assert "differ in num_features (6, 8): average their outputs" in capsys.readouterr().err
    assert not (tmp_path / "mixed").exists()


def test_evaluating_a_mean_of_models_and_a_self_ensemble(pair: list[Path], tmp_path: Path) -> None:
    write_image(tmp_path / "photos" / "one.png", (torch.rand(40, 36, 3) * 255).byte().numpy())
    line = [f"benchmark={tmp_path / 'photos'}", "scale=2", f"report={tmp_path / 'out'}", "metrics=[psnr]", "device=cpu"]

    def psnr(restorer: str, *more: str) -> float:
        assert main(["evaluate", f"restorer={restorer}", *line, *more]) == 0
        content = json.loads((tmp_path / "out" / "summary.json").read_text())
        return content["psnr_y"]

    alone = [psnr(str(path)) for path in pair]
    both = psnr(f"[{pair[0]},{pair[1]}]")
    assert both not in alone
    assert psnr(f"[{pair[0]},{pair[0]}]") == pytest.approx(alone[0], abs=1e-4)
    assert psnr("bicubic", "self_ensemble=true") == pytest.approx(psnr("bicubic"), abs=1e-6)
    assert psnr(str(pair[0]), "self_ensemble=true") != pytest.approx(alone[0], abs=1e-6)
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["restorer"] == f"{pair[0]} (x8)"
