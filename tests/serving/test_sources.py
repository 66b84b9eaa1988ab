"""Where models come from: a registry's version by its alias, and any restorer."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sr_lab.artefacts.artefact import save_artefact
from sr_lab.artefacts.shipped import shipped_families, shipped_scales
from sr_lab.networks.srcnn import SRCNN
from sr_lab.serving import sources
from sr_lab.serving.server import Models, make_parts

CPU = torch.device("cpu")


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = SRCNN(scale=2, num_channels=3)
    node = {"_target_": "sr_lab.networks.srcnn.SRCNN", "scale": 2, "num_channels": 3}
    return save_artefact(tmp_path / "best", network, config={"model": {"network": node}}, metadata={"data": "d"})


@pytest.fixture
def registry(artefact: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The aliases of a registered model, whose versions are all one artefact."""
    found = {"champion": 3}

    def download(uri: str, *, tracking_uri: str, directory: Path) -> Path:
        assert uri == f"models:/photos/{found['champion']}"
        shutil.copytree(artefact, directory / "model")
        (directory / "model" / "MODEL_CARD.md").write_text("# photos")
        return directory / "model"

    monkeypatch.setattr(sources, "aliases", lambda uri, name: dict(found))
    monkeypatch.setattr(sources, "download", download)
    return found


def test_a_registered_model_is_its_aliass_version_with_card_and_hashes(registry: dict[str, int]) -> None:
    models = Models(name="photos", fast="bicubic", more={}, device=CPU, tile=32)
    parts = make_parts(models)
    try:
        shelf = parts.service.shelf
        served = shelf.get("photos")
        assert (served.label, served.card, served.scale) == ("photos/3", "# photos", 2)
        assert "fills in detail" in served.warning
        assert set(served.told()["sha256"]) == {"weights.safetensors", "config.yaml"}
        assert parts.service.fast == "fast"
        assert shelf.get("fast").scale == 2
        registry["champion"] = 4
        assert shelf.follow()
        assert shelf.get("photos").label == "photos/4"
        del registry["champion"]
        assert not shelf.follow()
        assert shelf.get("photos").label == "photos/4"
    finally:
        parts.service.close()


def test_files_that_were_exchanged_are_not_served(registry: dict[str, int], artefact: Path) -> None:
    (artefact / "weights.safetensors").write_bytes(b"other")
    source = Models(name="photos", more={}, device=CPU).main()
    with pytest.raises(ValueError, match="not the file that was saved"):
        source.load(source.version())


def test_a_restorer_is_served_under_its_hash(artefact: Path) -> None:
    source = Models(restorer=str(artefact), more={}, device=CPU).main()
    served = source.load(source.version())
    assert (served.name, len(served.version)) == ("model", 12)
    assert served.compute([np.zeros((8, 9, 3), np.uint8)]).shape == (1, 3, 16, 18)
    with pytest.raises(ValueError, match="give name="):
        Models(more={}, device=CPU).main()


def test_scale_chooses_among_a_restorers_scales_and_is_refused_for_what_is_followed() -> None:
    parts = make_parts(Models(restorer="edge", scale=2, fast="edge", more={}, device=CPU))
    try:
        assert [parts.service.shelf.get(name).scale for name in ("model", "fast")] == [2, 2]
    finally:
        parts.service.close()
    models = Models(restorer="bicubic", scale=2, more={name: name for name in shipped_families()}, device=CPU)
    for source in models.others(2):  # of one scale only: that one, whatever the first model's is
        scales = shipped_scales(source.name)
        assert source.load(source.version()).scale == (2 if len(scales) > 1 else scales[0])
    for restorer in (None, "models:/photos@champion"):
        models = Models(name="photos", restorer=restorer, scale=2, more={}, device=CPU)
        with pytest.raises(ValueError, match=r"scale=2: the versions of .*photos.* leave scale= out"):
            models.main()
