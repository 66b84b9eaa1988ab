"""A diffusion model from the public command line to a report: trained, chosen by LPIPS, exported, sampled by seed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sr_lab.artefacts.artefact import load_artefact, save_artefact
from sr_lab.cli import main
from sr_lab.images import write_image
from sr_lab.networks.edsr import EDSR

SMALL_EDSR = {"_target_": "sr_lab.networks.edsr.EDSR", "scale": 2, "num_blocks": 1, "num_features": 4}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Three pictures to train on, one to validate on."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 1)):
        for index in range(count):
            image = np.kron(generator.random((9, 8, 3)), np.ones((8, 8, 1))) * 255
            write_image(root / split / f"{index}.png", image.astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory, shared) -> Path:
    """A finished run of PMRF over an EDSR's artefact, which is deleted afterwards."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    mean = save_artefact(
        folder / "mean",
        EDSR(scale=2, num_blocks=1, num_features=4),
        config={"model": {"network": SMALL_EDSR}},
        metadata={"images": {"train": ["seen by the mean"], "val": []}, "perceptual_backbones": ["alex"]},
    )
    line = ["train", "data=folder", f"data.train.roots={photos / 'train'}", f"data.val.roots={photos / 'val'}"]
    line += ["data.crop=24", "data.batch_size=2", f"data.cache={folder / 'cache'}", "tracking=none"]
    line += ["model=diffusion", "model/network=pmrf", "model/network@model.network.denoiser=unet_tiny", "losses=[l2]"]
    line += [f"model.network.mean.path={mean}", "model.network.num_steps=1", "model.network.denoiser.num_features=8"]
    line += ["metrics=[psnr,lpips]", f"metrics.lpips.weights={shared / 'weights'}", "model.val_steps=2"]
    line += ["monitor=val/lpips", "monitor_mode=min", "max_steps=4", "val_every=2", "checkpoint_every=2"]
    assert main([*line, f"output={folder / 'pmrf'}", "trainer.enable_progress_bar=false"]) == 0
    (mean / "weights.safetensors").unlink()
    return folder / "pmrf"


def test_the_best_weights_are_chosen_by_lpips(run):
    result = json.loads((run / "result.json").read_text())
    assert result["monitor"] == "val/lpips"
    assert 0 < result["best"] < 2


def test_the_artefact_is_whole_and_knows_what_its_mean_has_seen(run):
    artefact = load_artefact(run / "best")
    assert artefact.config["model"]["network"]["mean"] == SMALL_EDSR
    assert "seen by the mean" in artefact.metadata["images"]["train"]
    assert len(artefact.metadata["images"]["train"]) == 4
    assert artefact.metadata["perceptual_backbones"] == ["alex"]


def test_the_exported_graph_is_the_sample_of_seed_0(run):
    graph = torch.export.load(run / "model" / "data" / "model.pt2").module()
    low = torch.rand(2, 3, 30, 27)
    with torch.no_grad():
        torch.testing.assert_close(graph(low), load_artefact(run / "model").network(low), atol=1e-4, rtol=0)


def test_evaluation_draws_by_seed_and_number_of_steps(run, photos, tmp_path):
    def psnr(*settings):
        where = [f"restorer={run / 'best'}", f"benchmark={photos / 'val'}", "scale=2", f"report={tmp_path}"]
        assert main(["evaluate", *where, "metrics=[psnr]", *settings]) == 0
        return json.loads((tmp_path / "summary.json").read_text())

    first, again, other, longer = (psnr(*more) for more in ([], [], ["seed=1"], ["num_steps=3"]))
    assert first["psnr_y"] == again["psnr_y"]
    assert first["psnr_y"] != other["psnr_y"]
    assert first["psnr_y"] != longer["psnr_y"]
    assert (other["seed"], longer["num_steps"]) == (1, 3)
