import shutil
from pathlib import Path

import pytest
import torch

from sr_lab.artefacts.artefact import save_artefact
from sr_lab.artefacts.lineage import backbones_seen, perceptual_backbones
from sr_lab.losses.perceptual import LPIPS, Perceptual
from sr_lab.losses.pixel import L1
from sr_lab.networks.edsr import EDSR
from sr_lab.workflows.load import choose_device, fetch_artefact, load_restorer

SIZES = {"scale": 2, "num_channels": 3, "num_features": 8, "num_blocks": 1}


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = {"model": {"network": {"_target_": "sr_lab.networks.edsr.EDSR", **SIZES}}}
    return save_artefact(
        tmp_path / "run" / "best", EDSR(**SIZES), config=config, metadata={"images": {}, "commit": "abc"}
    )


def test_bicubic_needs_a_scale() -> None:
    restorer = load_restorer("bicubic", scale=3)
    assert (restorer.scale, restorer.metadata) == (3, None)
    with pytest.raises(ValueError, match=r"bicubic enlarges by any factor: give scale="):
        load_restorer("bicubic")


def test_an_artefact_brings_its_scale_and_its_history(artefact: Path) -> None:
    restorer = load_restorer(str(artefact.parent), device="cpu")
    assert restorer.scale == 2
    assert restorer.metadata is not None
    assert restorer.metadata["commit"] == "abc"
    assert "images" not in restorer.metadata
    assert restorer(torch.rand(1, 3, 5, 7)).shape == (1, 3, 10, 14)
    with pytest.raises(ValueError, match=r"best enlarges by 2, and scale=4 is asked for"):
        load_restorer(str(artefact), scale=4)


def test_an_artefact_that_a_killed_writer_moved_aside_is_found(artefact: Path) -> None:
    shutil.move(artefact, artefact.with_name(".best.retired"))
    assert fetch_artefact(str(artefact)).scale == 2


def test_names_that_lead_nowhere() -> None:
    with pytest.raises(FileNotFoundError, match=r"restorer=runs/gone: no such file or folder; give bicubic"):
        load_restorer("runs/gone")
    with pytest.raises(ValueError, match="auto, cpu or cuda"):
        choose_device("gpu")


def test_losses_say_what_they_look_through(shared: Path) -> None:
    weights = shared / "weights"
    losses = [
        L1(),
        LPIPS(net="alex", weights=weights),
        Perceptual(layers={"conv1": 1}, backbone="squeezenet1_1", weights=weights),
    ]
    assert perceptual_backbones(losses) == ["alex", "squeeze"]
    assert perceptual_backbones([L1()], [{"perceptual_backbones": ["vgg"]}, {}]) == ["vgg"]


def test_of_early_artefacts_the_configuration_tells_the_backbones() -> None:
    config = {"losses": {"a": {"backbone": "vgg19"}, "b": {"net": "squeeze"}}}
    assert backbones_seen({}, config) == ["vgg", "squeeze"]
    assert backbones_seen({"perceptual_backbones": []}, config) == []
