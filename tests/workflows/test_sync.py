from pathlib import Path

import pytest

from sr_lab.tracking.run import Run
from sr_lab.workflows.sync import sync


def test_a_result_tells_what_is_left(tmp_path: Path) -> None:
    options = {"directory": tmp_path / "a" / "tracking", "ship": False, "observe": False, "system_seconds": 0}
    with Run(uri="http://127.0.0.1:9", experiment="e", name="n", **options):
        pass
    synced = sync(directory=tmp_path, seconds=5)
    assert not synced.complete
    (outcome,) = synced.outcomes
    assert (outcome.name, outcome.state, outcome.left) == ("n", "unsent", 2)
    assert outcome.reason is not None
    assert "refused" in outcome.reason.lower()


def test_a_folder_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a folder"):
        sync(directory=tmp_path / "nothing")
