import errno
from pathlib import Path
from typing import Any

import pytest

from sr_lab.networks.fsrcnn import FSRCNN
from sr_lab.tracking.models import save_model


def test_a_full_disk_names_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.pytorch

    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "metadata.json").write_text("{}")
    network = FSRCNN(scale=2, num_channels=3, num_features=8, num_shrunk=4, num_mapping=1)

    def full(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(mlflow.pytorch, "save_model", full)
    with pytest.raises(OSError, match="is the disk full") as caught:
        save_model(tmp_path / "model", network, artefact=tmp_path / "best")
    assert caught.value.errno == errno.ENOSPC
    assert "model" in str(caught.value.filename)
    assert ".part" not in str(caught.value)
    assert not (tmp_path / "model").exists()
