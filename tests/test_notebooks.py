"""Notebooks run from top to bottom, one of them on a small evaluation, and are committed without outputs.

One runs in a kernel of its own, as Jupyter does it. The others run in IPython's shell in this process, which has
imported torch and MLflow already.
"""

import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from traitlets.config import Config

from sr_lab.cli import main
from sr_lab.images import write_image

pytestmark = pytest.mark.usefixtures("forked")

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    rows, columns = np.mgrid[0:48, 0:64]
    picture = np.stack([rows * 4, columns * 3, rows + columns], -1).astype(np.uint8)
    for name in ("a", "b"):
        write_image(root / "photos" / f"{name}.png", picture if name == "a" else picture[::-1].copy())
    where = [f"benchmark={root / 'photos'}", f"report={root / 'first' / 'report'}", "scale=2", "restorer=bicubic"]
    assert main(["evaluate", *where, "metrics=[psnr,ssim]"]) == 0
    return root


def in_a_kernel(notebook: nbformat.NotebookNode, folder: Path) -> None:
    NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(folder)}}).execute()


def here(notebook: nbformat.NotebookNode) -> None:
    """Every code cell in a new shell; what stands last in a cell is displayed, as in a notebook."""
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            shell.run_cell(cell.source).raise_error()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, runs, monkeypatch, tmp_path):
    monkeypatch.setitem(os.environ, "SR_LAB_RUNS", str(runs))
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):  # each keeps to the store of its own folder
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # networks this small only wait for a second thread on a busy machine
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    before = {file.name for file in path.parent.iterdir()}
    notebook = nbformat.read(path, as_version=4)
    if path.stem == "results":
        in_a_kernel(notebook, path.parent)
    else:
        monkeypatch.chdir(path.parent)
        plt.switch_backend("agg")
        here(notebook)
        plt.close("all")
    assert {file.name for file in path.parent.iterdir()} == before, "a notebook writes into its temporary folder only"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
