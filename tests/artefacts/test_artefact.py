"""Artefacts: what was saved is what is loaded, and nothing else is."""

import json

import pytest
import torch
import yaml

from sr_lab.artefacts.artefact import build_network, load_artefact, save_artefact
from sr_lab.artefacts.folder import CONFIG, METADATA, WEIGHTS
from sr_lab.networks.edsr import EDSR

NODE = {"_target_": "sr_lab.networks.edsr.EDSR", "scale": 2, "num_blocks": 1, "num_features": 4}


@pytest.fixture
def artefact(tmp_path):
    torch.manual_seed(0)
    network = EDSR(scale=2, num_blocks=1, num_features=4)
    config = {"model": {"network": NODE}, "seed": 3}
    return network, save_artefact(tmp_path / "best", network, config=config, metadata={"commit": "abc"})


def test_round_trip(artefact):
    network, folder = artefact
    loaded = load_artefact(folder)
    low = torch.rand(1, 3, 5, 7)
    torch.testing.assert_close(loaded.network(low), network(low))
    assert (loaded.scale, loaded.config["seed"], loaded.metadata["commit"]) == (2, 3, "abc")
    assert not loaded.network.training


def test_a_folder_that_holds_one_is_enough(artefact):
    _, folder = artefact
    assert load_artefact(folder.parent).metadata["commit"] == "abc"


def test_saving_again_replaces_the_whole(artefact):
    network, folder = artefact
    save_artefact(folder, network, config={"model": {"network": NODE}}, metadata={"commit": "new"})
    assert load_artefact(folder).metadata["commit"] == "new"
    assert [entry.name for entry in folder.parent.iterdir()] == ["best"]


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_tampered_file_is_refused_by_its_hash(artefact, name):
    _, folder = artefact
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} is not the file that was saved"):
        load_artefact(folder)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_missing_file_is_named(artefact, name):
    _, folder = artefact
    (folder / name).unlink()
    with pytest.raises(ValueError, match=rf"lacks {name}"):
        load_artefact(folder)


@pytest.mark.parametrize(
    "target",
    ["os.system", "sr_lab.commands.train.run", "sr_lab.networks.tiling.restore_tiled", "sr_lab.networks.edsr.x"],
)
def test_configuration_cannot_call_anything_but_a_network(target):
    with pytest.raises(ValueError, match="not a network"):
        build_network({"_target_": target})


def test_config_that_names_another_class_is_refused_even_with_a_fitting_hash(artefact):
    import hashlib

    _, folder = artefact
    text = yaml.safe_dump({"model": {"network": {"_target_": "os.system", "command": "true"}}})
    (folder / CONFIG).write_text(text)
    metadata = json.loads((folder / METADATA).read_text())
    metadata["sha256"][CONFIG] = hashlib.sha256(text.encode()).hexdigest()
    (folder / METADATA).write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match=r"'os\.system' is not a network"):
        load_artefact(folder)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no artefact or checkpoint at"):
        load_artefact(tmp_path / "nothing")


def test_a_file_that_is_no_checkpoint(tmp_path):
    (tmp_path / "x.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="neither an artefact's folder nor a whole checkpoint"):
        load_artefact(tmp_path / "x.ckpt")
