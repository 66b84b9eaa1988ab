"""The models in the package: whole, small, found by name, trained on nothing that they are measured on."""

import re

import pytest
import torch
from skimage import data

import sr_lab
from sr_lab.artefacts.artefact import load_artefact
from sr_lab.artefacts.folder import FILES
from sr_lab.artefacts.shipped import MODELS, find_shipped, shipped_models
from sr_lab.images import resize_bicubic, to_tensor
from sr_lab.workflows.load import load_restorer


@pytest.mark.parametrize("name", shipped_models())
def test_a_shipped_model_is_whole_and_says_what_it_is(name: str) -> None:
    artefact = load_artefact(MODELS / name)
    assert name.endswith(f"_x{artefact.scale}")
    assert len(artefact.metadata["images"]["train"]) > 400
    text = "".join((MODELS / name / file).read_text() for file in FILES if file != "weights.safetensors")
    assert not re.search(r"""[\s"']/\w""", text), "no path of the machine that trained it"


@pytest.mark.parametrize("name", [name for name in shipped_models() if name.startswith("edge")])
def test_an_edge_model_is_small_and_plain(name: str) -> None:
    artefact = load_artefact(MODELS / name)
    assert artefact.network.num_parameters <= 60_000
    assert (MODELS / name / "weights.safetensors").stat().st_size <= 250_000
    assert artefact.config["model"]["network"]["collapsed"]


def test_clip_sees_its_last_frame_and_is_for_videos() -> None:
    """On a pan over a photo by which its weights were chosen; how good it is on others is in experiments/temporal."""
    clip = sr_lab.load("clip", device="cpu")
    photo = to_tensor(data.astronaut())
    frames = [photo[..., 100 + shift : 228 + shift, 60:188] for shift in range(0, 12, 2)]
    lows = [resize_bicubic(frame, scale=0.25).clamp(0, 1) for frame in frames]
    restored = list(clip.frames(lows))
    assert torch.equal(restored[0], clip(lows[0]))
    made = (restored[-1], clip(lows[-1]), resize_bicubic(lows[-1], scale=4.0).clamp(0, 1))
    seen, alone, classical = (sr_lab.psnr(image, frames[-1], scale=4) for image in made)
    assert seen > alone > classical


def test_edge_is_found_by_its_name_and_scale() -> None:
    restorer = load_restorer("edge", scale=4, device="cpu")
    assert restorer(torch.rand(1, 3, 8, 9)).shape == (1, 3, 32, 36)
    assert find_shipped("edge") == find_shipped("edge", scale=4) == find_shipped("edge_x4")
    assert find_shipped("live") == find_shipped("live_x2")  # the only scale that there is
    assert find_shipped("edgy") is None
    with pytest.raises(ValueError, match=r"edge is shipped for scale .*4, and scale=7 is asked for"):
        load_restorer("edge", scale=7)
    with pytest.raises(ValueError, match="enlarges by 4, and scale=2"):
        load_restorer("edge_x4", scale=2)
