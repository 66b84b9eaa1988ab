"""A GAN through the public command line: x2, x4 from it, ESRGAN and Real-ESRGAN from that, and what stops them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.models as models

from sr_lab.artefacts.artefact import load_artefact
from sr_lab.cli import main
from sr_lab.config.compose import build, compose
from sr_lab.images import write_image

TINY = ["model.network.num_blocks=1", "model.network.num_features=8", "model.network.growth=4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Photos to train and validate on, made-up weights of the backbones, and RRDB at x2 and, started from it, at x4."""
    root = tmp_path_factory.mktemp("gan")
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[0:48, 0:52] / 6
    for split, count in (("train", 4), ("val", 2)):
        for index in range(count):
            phases = generator.uniform(0, 6, (3, 2))
            waves = [np.sin(rows * (1 + c) + p) * np.cos(columns + q) for c, (p, q) in enumerate(phases)]
            write_image(root / split / f"{index}.png", ((np.stack(waves, -1) + 1) * 127.5).astype(np.uint8))
    torch.manual_seed(0)
    for backbone in ("alexnet", "squeezenet1_1"):
        with torch.device("meta"):
            shapes = getattr(models, backbone)(weights=None).features.state_dict()
        state = {f"features.{key}": torch.randn(value.shape) * 0.05 for key, value in shapes.items()}
        torch.save(state, root / f"{backbone}_features.pth")
    steps = ["max_steps=1", "val_every=1", "data.crop=32", "data.batch_size=2", "optimizer.lr=0.0", *TINY]
    assert main(command(root, "rrdb_x4_t91_bsds400", "x2", *steps, "scale=2")) == 0
    assert main(command(root, "rrdb_x4_t91_bsds400", "x4", *steps, f"initial={root / 'x2' / 'best'}")) == 0
    return root


def command(root: Path, experiment: str, name: str, *more: str) -> list[str]:
    data = ["data=folder", f"data.train.roots={root / 'train'}", f"data.val.roots={root / 'val'}"]
    quiet = ["tracking=none", "trainer.enable_progress_bar=false", f"data.cache={root / 'cache'}"]
    return ["train", f"experiment={experiment}", *data, *quiet, f"name={name}", f"output={root / name}", *more]


def evaluation(root: Path, name: str) -> list[str]:
    where = [f"benchmark={root / 'val'}", "scale=4", f"report={root / name}_report"]
    return [*where, "metrics=[lpips]", f"metrics.lpips.weights={root}"]


def gan(root: Path, kind: str, name: str, *more: str) -> list[str]:
    weights = [f"losses.perceptual.weights={root}", f"metrics.lpips.weights={root}"]
    return command(root, f"{kind}_debug_x4_t91_bsds400", name, *weights, f"initial={root / 'x4' / 'best'}", *more)


def test_x4_starts_from_x2_but_for_what_depends_on_the_scale(folder: Path):
    """The authors' way; the learning rate is 0, so that what was taken over is still there."""
    ours, theirs = (load_artefact(folder / name / "best").network.state_dict() for name in ("x4", "x2"))
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]) == (key != "head.weight"), key


@pytest.mark.parametrize("kind", ["esrgan", "realesrgan"])
def test_debug_configuration_trains_and_keeps_the_weights_of_the_least_lpips(folder: Path, kind: str):
    assert main(gan(folder, kind, kind)) == 0
    result = json.loads((folder / kind / "result.json").read_text())
    assert (result["steps"], result["monitor"]) == (4, "val/lpips")
    kept = json.loads((folder / kind / "best" / "metadata.json").read_text())["metrics"]
    assert kept["val/lpips"] == result["best"]
    assert kept["step"] == result["best_step"]
    assert "val/ema_gain" in kept
    if kind == "realesrgan":
        return  # it is validated on images of its own degradation
    assert main(["evaluate", f"restorer={folder / kind / 'best'}", *evaluation(folder, kind)]) == 0
    found = json.loads((folder / f"{kind}_report" / "summary.json").read_text())
    assert found["lpips"] == pytest.approx(result["best"], abs=1e-5)


def test_without_weights_to_start_from_it_does_not_start(folder: Path, capsys):
    assert main(cold(folder, "cold")) == 1
    assert "initial is null: Adversarial starts from weights that were trained for PSNR" in capsys.readouterr().err


def test_a_collapse_ends_the_run_non_zero_and_says_what_to_do(folder: Path, capsys):
    sensitive = ["model.collapse.limits.colour_bias.most=0.000001", "model.collapse.patience=2"]
    assert main([*cold(folder, "collapsed"), *sensitive, "model.warm_start=waived"]) == 1
    said = capsys.readouterr().err
    assert "step 2: the GAN has collapsed: train/colour_bias=" in said
    assert "raise the weight of a pixel loss" in said
    assert not (folder / "collapsed" / "result.json").exists()


def cold(folder: Path, name: str) -> list[str]:
    return [part for part in gan(folder, "esrgan", name) if not part.startswith("initial=")]


def test_missing_backbone_weights_are_named_before_the_run(folder: Path, tmp_path: Path, capsys):
    nowhere = ["losses=[l1,perceptual_vgg19]", f"losses.perceptual.weights={tmp_path}"]
    assert main(gan(folder, "realesrgan", "vgg", *nowhere)) == 1
    said = capsys.readouterr().err
    assert "the perceptual loss needs torchvision's vgg19 weights" in said
    assert f"into {tmp_path}" in said


@pytest.mark.parametrize(
    ("experiment", "loss", "layers"),
    [
        ("esrgan_x4_t91_bsds400", "perceptual_vgg19_conv5_4", {"conv5_4": 1.0}),
        (
            "realesrgan_x4_t91_bsds400",
            "perceptual_vgg19",
            {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0},
        ),
    ],
)
def test_the_published_recipe_is_one_override(experiment: str, loss: str, layers: dict):
    config = compose("train", [f"experiment={experiment}", f"losses=[l1,{loss}]", "losses.perceptual.weights=x"])
    assert (config.losses.perceptual.backbone, dict(config.losses.perceptual.layers)) == ("vgg19", layers)
    published = {
        "esrgan_x4_t91_bsds400": (0.01, 0.005, 14_499_401),
        "realesrgan_x4_t91_bsds400": (1.0, 0.1, 4_376_897),
    }
    critic = build(config.model.critic)
    assert (config.losses.l1.weight, config.model.gan.weight, critic.num_parameters) == published[experiment]
