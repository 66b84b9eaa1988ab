"""The GPU study in toy sizes on the CPU: every piece, a kill, and going on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sr_lab.images import read_image, write_image

pytestmark = pytest.mark.usefixtures("forked")

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "experiments" / "gpu_study" / "study.py"


@pytest.fixture(scope="module")
def few(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The development data, but few images of each set, and of these a corner: no number is looked at."""
    root = tmp_path_factory.mktemp("few")
    (root / "weights").symlink_to(shared / "weights")
    chosen = {"train/T91": 2, "train/BSDS400": 2}
    for name in ("Set5", "Set14", "BSD100"):
        chosen |= {f"benchmark/{name}/{scale}/HR": 1 for scale in ("x2", "x4")}
    chosen["benchmark/Set5/x4/LR"] = 1
    for folder, count in chosen.items():
        side = 24 if folder.endswith("LR") else 96
        for file in sorted((shared / "datasets" / folder).iterdir())[-count:]:
            write_image(root / "datasets" / folder / f"{file.stem}.png", read_image(file)[:side, :side])
    return root


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_piece_in_toy_sizes_through_a_kill(few: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    line = [sys.executable, str(STUDY), str(out), "--tiny"]
    environment = {**os.environ, "SR_LAB_SHARED": str(few), "PYTHONPATH": str(ROOT)}
    begin = [*line, "--piece", "rate_edsr_10", "--piece", "train_edsr_10"]
    first = subprocess.Popen(begin, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint = out / "runs" / "edsr_10" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 300
    while not checkpoint.exists() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert checkpoint.exists(), "the study was over, or too slow, before it could be killed"
    done = {file.name: file.stat().st_mtime_ns for file in (out / "results").iterdir()}
    assert "rate_edsr_10.json" in done
    assert "train_edsr_10.json" not in done
    second = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=1100, check=False)
    assert second.returncode == 0, second.stderr[-3000:]
    assert "going on from step" in second.stdout
    assert all((out / "results" / name).stat().st_mtime_ns == before for name, before in done.items()), "done twice"
    summary = json.loads((out / "summary.json").read_text())
    assert all(result is not None for result in summary["results"].values())
    unmeasured = [row["what"] for row in summary["bars"] if row["value"] is None]
    assert all("Set14" in what or "BSD100" in what for what in unmeasured), "a bar points at a number that is not there"
    assert (out / "weights" / "edsr_30.safetensors").stat().st_size < 5e6
    assert len(list((out / "pictures").glob("*.png"))) == 9
    assert "these numbers mean nothing" in (out / "summary.md").read_text()


def test_without_a_gpu_nothing_is_claimed(tmp_path: Path) -> None:
    line = [sys.executable, str(STUDY), str(tmp_path / "study")]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 1
    assert "no GPU here: nothing is measured" in run.stderr
