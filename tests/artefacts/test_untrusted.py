"""Files of strangers: nothing that is loaded is executed, wherever it lies."""

import hashlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sr_lab.artefacts.artefact import build_network, load_artefact, save_artefact
from sr_lab.artefacts.folder import CONFIG, FILES, METADATA, WEIGHTS
from sr_lab.networks.community import load_community
from sr_lab.tracking.registry.seal import SEAL, check_seal, seal


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def folder(fsrcnn_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fsrcnn_model, tmp_path / "model"))


def payloads(mark: Path, tmp_path: Path) -> list[bytes]:
    torch.save({"weight": Trap(mark)}, tmp_path / "trap.pth")
    return [pickle.dumps(Trap(mark)), (tmp_path / "trap.pth").read_bytes()]


def names(model: Path) -> list[str]:
    present = [file.relative_to(model).as_posix() for file in sorted(model.rglob("*")) if file.is_file()]
    return [*present, "model.pkl", "weights.pth", "data/model.pth", "data/pickle_module_info.txt"]


def test_the_trap_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


def test_a_pickle_in_any_place_is_refused_or_ignored(fsrcnn_model: Path, folder: Path, tmp_path: Path) -> None:
    model, network = fsrcnn_model, load_artefact(fsrcnn_model).network
    mark = tmp_path / "executed"
    low = torch.rand(1, 3, 7, 9)
    tags = {SEAL: seal(model)}
    for payload in payloads(mark, tmp_path):
        for name in names(model):
            before = (folder / name).read_bytes() if (folder / name).exists() else None
            (folder / name).write_bytes(payload)
            if name in FILES:
                with pytest.raises(ValueError, match=name):
                    load_artefact(folder)
                with pytest.raises(ValueError, match=name):
                    seal(folder)
            else:
                assert torch.equal(load_artefact(folder).network(low), network(low))
            if before is None:
                check_seal(folder, tags, uri="models:/m/1")
                (folder / name).unlink()
            else:
                with pytest.raises(ValueError, match=f"models:/m/1: {name} is not the file that was registered"):
                    check_seal(folder, tags, uri="models:/m/1")
                (folder / name).write_bytes(before)
    assert torch.equal(load_artefact(folder).network(low), network(low))
    assert not mark.exists()


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_pickle_with_a_fitting_hash_is_refused_too(folder: Path, tmp_path: Path, name: str) -> None:
    mark = tmp_path / "executed"
    for payload in payloads(mark, tmp_path):
        exchange(folder, name, payload)
        with pytest.raises(ValueError, match=f"{name} was not written by srlab"):
            load_artefact(folder)
    assert not mark.exists()


def test_yaml_that_makes_objects_is_refused(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    text = f"model: {{network: !!python/object/apply:os.system ['touch {mark}']}}"
    exchange(folder, CONFIG, text.encode())
    with pytest.raises(ValueError, match=f"{CONFIG} was not written by srlab"):
        load_artefact(folder)
    assert not mark.exists()


def test_a_pickle_as_checkpoint_or_public_weights_is_refused(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    for payload in payloads(mark, tmp_path):
        for name, load in (("last.ckpt", load_artefact), ("net.pth", lambda file: load_community(path=str(file)))):
            (tmp_path / name).write_bytes(payload)
            with pytest.raises(ValueError, match=name):
                load(tmp_path / name)
    assert not mark.exists()


def test_mlflow_itself_refuses_a_pickled_model(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.pytorch

    from sr_lab.tracking.store import prepare_mlflow

    monkeypatch.delenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", raising=False)
    prepare_mlflow()
    mark = tmp_path / "executed"
    (folder / "data" / "model.pt2").unlink()
    (folder / "data" / "model.pth").write_bytes(payloads(mark, tmp_path)[1])
    (folder / "data" / "pickle_module_info.txt").write_text("mlflow.pytorch.pickle_module")
    description = yaml.safe_load((folder / "MLmodel").read_text())
    description["flavors"]["pytorch"]["serialization_format"] = "pickle"
    (folder / "MLmodel").write_text(yaml.safe_dump(description))
    with pytest.raises(mlflow.MlflowException, match=r"(?i)pickle"):
        mlflow.pytorch.load_model(str(folder))
    assert not mark.exists()


def test_files_and_hashes_exchanged_together_break_the_seal(folder: Path) -> None:
    tags = {SEAL: seal(folder)}
    config = yaml.safe_load((folder / CONFIG).read_text())
    other = build_network(config["model"]["network"])
    stranger = save_artefact(folder.parent / "other", other, config=config, metadata={"commit": "c"})
    for name in FILES:
        (folder / name).write_bytes((stranger / name).read_bytes())
    assert load_artefact(folder).metadata["commit"] == "c"
    with pytest.raises(ValueError, match=rf"models:/m/1: ({METADATA}|{WEIGHTS}) is not the file that was registered"):
        check_seal(folder, tags, uri="models:/m/1")
    (folder / WEIGHTS).unlink()
    with pytest.raises(ValueError, match=f"{METADATA} is not|{WEIGHTS} is gone"):
        check_seal(folder, tags, uri="models:/m/1")
    with pytest.raises(ValueError, match="has no hashes of its files"):
        check_seal(folder, {}, uri="models:/m/1")


def exchange(folder: Path, name: str, content: bytes) -> None:
    """Puts ``content`` in the place of a file, and its hash into the metadata."""
    (folder / name).write_bytes(content)
    metadata = json.loads((folder / METADATA).read_text())
    metadata["sha256"][name] = hashlib.sha256(content).hexdigest()
    (folder / METADATA).write_text(json.dumps(metadata))
