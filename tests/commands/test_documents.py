"""``srlab documents``, and its pages under ``srlab evaluate tasks=...``."""

import json
import shutil

import pytest

from sr_lab.cli import main


def test_documents_are_a_benchmark_whose_text_is_read(tmp_path, capsys):
    pytest.importorskip("rapidfuzz")
    if shutil.which("tesseract") is None:
        pytest.skip("tesseract is not installed")
    pages, report = tmp_path / "pages", tmp_path / "report"
    assert main(["documents", f"output={pages}", "count=2", "sizes=[16,28]"]) == 0
    assert "4 pages of 2 documents" in capsys.readouterr().out
    words = [f"benchmark={pages}", "scale=4", "restorer=bicubic", f"report={report}", "metrics=[psnr]", "device=cpu"]
    assert main(["evaluate", *words, "tasks=[ocr]", "num_pictures=1"]) == 0
    said = capsys.readouterr().out
    assert "ocr_cer  original  0.0" in said
    tasks = json.loads((report / "summary.json").read_text())["tasks"]
    cer = {(one["source"], one["group"]): one["mean"] for one in tasks if one["metric"] == "ocr_cer"}
    assert cer["bicubic", "16 px"] > cer["bicubic", "28 px"]
    assert cer["bicubic", "16 px"] > 0.1
    assert max(cer["original", group] for group in ("16 px", "28 px")) < 0.05


def test_a_folder_that_is_there_and_what_cannot_be_made_are_refused(tmp_path, capsys):
    assert main(["documents", f"output={tmp_path}"]) != 0
    assert "is there already" in capsys.readouterr().err
    assert main(["documents", f"output={tmp_path / 'new'}", "sizes=[2]"]) != 0
    assert "fonts of 6 pixels" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_detector_without_weights_is_told_before_anything_is_measured(tmp_path, capsys):
    words = ["restorer=bicubic", f"benchmark={tmp_path}", "scale=4", "report=r", "metrics=[psnr]", "tasks=[object]"]
    assert main(["evaluate", *words]) != 0
    assert "give tasks.object.detector.weights=... tasks.object.detector.classes=..." in capsys.readouterr().err
    words += ["tasks.object.detector.weights=none.onnx", "tasks.object.detector.classes=[car]"]
    assert main(["evaluate", *words]) != 0
    assert "object: there is no file none.onnx" in capsys.readouterr().err
