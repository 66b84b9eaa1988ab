"""What a user names is never lost: a folder is only replaced by one of its kind. What names no network is told."""

from pathlib import Path

import pytest

from sr_lab.base.files import require_replaceable
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
