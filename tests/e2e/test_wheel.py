"""An installed wheel brings its configuration: the command works away from the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def srlab(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from sr_lab.cli import main; sys.exit(main())"
    environment = dict(os.environ) | {"PYTHONPATH": str(installed)}
    line = [sys.executable, "-c", code, *arguments]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_help_and_composition_use_the_wheels_own_configuration(installed, tmp_path):
    done = srlab(installed, tmp_path, "--help")
    assert str(installed / "sr_lab" / "conf") in done.stdout, done.stderr
    done = srlab(installed, tmp_path, "train", "experiment=edsr_tiny_x2_photos", "--cfg")
    assert done.returncode == 0, done.stderr
    assert "_target_: sr_lab.networks.edsr.EDSR" in done.stdout


def test_the_demos_manifest_and_the_reports_template_are_in_it(installed):
    assert (installed / "sr_lab" / "manifests" / "photos.json").is_file()
    assert (installed / "sr_lab" / "evaluation" / "report.html.j2").is_file()
