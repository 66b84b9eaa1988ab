"""The bill of materials: it lists what is needed, what comes along and what was exported, and is valid."""

import json
import shutil
from email.message import Message
from pathlib import Path

import pytest

from sr_lab.artefacts import bill as listing
from sr_lab.artefacts.bill import licence_of, models, packages
from sr_lab.artefacts.export.manifest import write_manifest
from sr_lab.artefacts.shipped import MODELS, shipped_models
from sr_lab.cli import main

pytest.importorskip("cyclonedx", reason="needs pip install 'sr-lab[sbom]'")


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "phone"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"graph")
    source = {"name": "models:/photos/3", "weights": "ab" * 32}
    write_manifest(folder, {"target": "bundle", "precision": "fp32", "source": source})
    return folder


def test_it_lists_packages_models_and_exports_and_is_valid(tmp_path, export, capsys):
    file = tmp_path / "sbom.json"
    assert main(["sbom", f"output={file}", "extras=[serve]", f"exports=[{export}]"]) == 0
    told = json.loads(file.read_text())
    assert (told["bomFormat"], told["specVersion"]) == ("CycloneDX", "1.6")
    root = told["metadata"]["component"]
    assert (root["name"], root["purl"].partition("@")[0]) == ("sr-lab", "pkg:pypi/sr-lab")
    found = {part["name"]: part for part in told["components"]}
    assert {"torch", "starlette", "fastapi", "edge_x2", "edge_x4", "phone"} <= set(found)
    assert not {"pytest", "ruff", "optuna"} & set(found), "what is only developed with does not ship"
    assert found["phone"]["pedigree"]["ancestors"][0]["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    weights = json.loads((MODELS / "edge_x2" / "metadata.json").read_text())["sha256"]["weights.safetensors"]
    assert {"name": "srlab:sha256:weights.safetensors", "value": weights} in found["edge_x2"]["properties"]
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in told["dependencies"]}
    assert found["fastapi"]["bom-ref"] in needs[root["bom-ref"]]
    assert found["starlette"]["bom-ref"] in needs[found["fastapi"]["bom-ref"]]
    printed = capsys.readouterr().out
    assert f"{len(packages(['serve']))} packages and {len(shipped_models()) + 1} models" in printed
    assert "Apache-2.0" in printed
    (export / "model.onnx").write_bytes(b"another")
    assert main(["sbom", f"output={file}", f"exports=[{export}]"]) == 1
    assert "not the file that was exported" in capsys.readouterr().err


def test_what_cannot_be_listed_is_named(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"extras=serv: sr-lab has .*serve"):
        packages(["serv"])
    real = listing.distribution

    def without_torch(name):
        if name == "torch":
            raise listing.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(listing, "distribution", without_torch)
    with pytest.raises(ValueError, match=r"torch is not installed, and .* needs it"):
        packages()
    shutil.copytree(MODELS, tmp_path / "models")
    (tmp_path / "models" / "edge_x3" / "weights.safetensors").write_bytes(b"other")
    monkeypatch.setattr(listing, "MODELS", tmp_path / "models")
    with pytest.raises(ValueError, match=r"edge_x3.* is not the file that was saved"):
        models()


@pytest.mark.parametrize(
    ("headers", "licence"),
    [
        ([("License-Expression", "MIT OR Apache-2.0"), ("License", "other")], "MIT OR Apache-2.0"),
        ([("License", "BSD"), ("Classifier", "License :: OSI Approved :: BSD License")], "BSD"),
        ([("License", "Permission is hereby granted\nfree of charge"), ("Classifier", "License :: Public Domain")],
         "Public Domain"),
        ([("License", "UNKNOWN")], "unknown"),
        ([], "unknown"),
    ],
)  # fmt: skip
def test_a_licence_is_what_the_authors_tell(headers, licence):
    told = Message()
    for name, value in headers:
        told[name] = value
    assert licence_of(told) == licence
