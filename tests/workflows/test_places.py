"""What a user names is never lost: a folder is only replaced by one of its kind. What names no network is told."""

from pathlib import Path

import pytest

from sr_lab.base.files import require_folder_name, require_replaceable
from sr_lab.cli import main
from sr_lab.images import write_image
from sr_lab.workflows.derive import interpolate, prune
from sr_lab.workflows.export import export
from sr_lab.workflows.profile_model import profile_model
from sr_lab.workflows.showing import load_restorers


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    import numpy as np

    write_image(tmp_path / "photos" / "a.png", np.zeros((8, 8, 3), np.uint8))
    return tmp_path / "photos"


@pytest.mark.parametrize(
    "work",
    [
        lambda output: export("edge_x4", output),
        lambda output: prune("edge_x4", output, amount=0.5, criterion=lambda *_: []),
        lambda output: interpolate(["edge_x4", "edge_x4"], output),
    ],
)
def test_a_folder_of_photos_is_not_replaced(work, photos: Path) -> None:
    with pytest.raises(ValueError, match=r"photos holds other files \(a\.png\), which would be lost: give a folder"):
        work(photos)
    assert [file.name for file in photos.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("output", ["export", "restorer=edge", "output=model.onnx"]),
        ("output", ["prune", "artefact=edge_x4", "amount=0.5", "output=pruned.safetensors"]),
        ("output", ["degrade", "input=photos", "degradation=bicubic", "scale=2", "output=low.png"]),
        ("output", ["documents", "output=page.png"]),
        ("output", ["study", "create", "restorers=[bicubic,edge]", "images=photos", "output=study.html"]),
        ("report", ["evaluate", "restorer=bicubic", "benchmark=photos", "scale=2", "metrics=[psnr]", "report=a.html"]),
        (
            "report",
            ["compare", "a=bicubic", "b=edge", "benchmark=photos", "scale=2", "metrics=[psnr]", "report=a.html"],
        ),
        ("report", ["drift", "reference=p.parquet", "current=photos", "scale=2", "report=a.html"]),
    ],
)
def test_a_folder_is_not_named_like_a_file(
    key: str, line: list[str], photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(photos.parent)
    assert main(line) == 1
    name = Path(line[-1].partition("=")[2])
    assert (
        f"{key}={name} would be a folder, and is named like a file: leave {name.suffix} out" in capsys.readouterr().err
    )
    assert [file.name for file in photos.parent.iterdir()] == ["photos"]


def test_a_folder_that_is_there_is_called_as_it_likes(tmp_path: Path) -> None:
    (tmp_path / "there.png").mkdir()
    for name in (tmp_path / "there.png", tmp_path / "v1.5", f"{tmp_path}/new.png/", "s3://bucket/low"):
        require_folder_name(name, key="output")
    with pytest.raises(ValueError, match=r"output=.*new\.PNG would be a folder"):
        require_folder_name(tmp_path / "new.PNG", key="output")


def test_a_folder_of_the_kind_an_empty_one_and_none_may_be_replaced(tmp_path: Path) -> None:
    require_replaceable(tmp_path / "new", mark="mark")
    require_replaceable(tmp_path, mark="mark")
    for name in ("mark", "other"):
        (tmp_path / name).touch()
    require_replaceable(tmp_path, mark="mark")
    with pytest.raises(NotADirectoryError):
        require_replaceable(tmp_path / "other", mark="mark")


def test_a_command_refuses_before_anything_is_read(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "restorer=nothing", f"output={photos}"]) == 1
    assert "which would be lost" in capsys.readouterr().err
    assert (photos / "a.png").is_file()


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda folder: export("bicubic", folder / "out"), "restorer=bicubic is no network, and one is needed here"),
        (lambda folder: export("edge_x4", folder / "out", num_runs=0), "num_runs=0: at least one call"),
        (lambda folder: profile_model("edge_x4", num_runs=0), "num_runs=0: at least one call"),
        (lambda folder: profile_model("edge_x4", prices={"core_hour": -1.0}), "prices.core_hour=-1.0: .* 0 or more"),
        (lambda folder: profile_model(str(folder)), "holds no artefact"),
        (lambda folder: load_restorers([], scale=None, device="cpu"), "there is nothing to show"),
    ],
)
def test_what_cannot_be_done_is_told(work, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        work(tmp_path)
