"""What is said to nobody ends nothing: not the help, and no work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sr_lab.base.unread import Outliving


@pytest.mark.parametrize("line", [["--help"], ["train", "--help"], ["train", "--cfg"]])
def test_a_reader_that_has_ended_is_no_failure(line: list[str]) -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from sr_lab.cli import main; sys.exit(main())", *line],
        stdout=writing, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(writing)
    os.close(reading)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert "BrokenPipeError" not in said


def test_what_is_said_to_nobody_is_dropped_and_the_rest_is_the_streams_own(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="utf-8") as pipe:
        stream = Outliving(pipe)
        assert stream.write("heard\n") == 6
        stream.flush()
        assert os.read(reading, 100) == b"heard\n"
        os.close(reading)
        for _ in range(3):
            assert stream.write(100_000 * "x") == 100_000
            stream.flush()
        assert (stream.encoding, stream.closed) == ("utf-8", False)
    with (tmp_path / "file").open("w") as file:
        print("kept", file=Outliving(file))  # type: ignore[call-overload]
    assert (tmp_path / "file").read_text() == "kept\n"


def test_a_full_disk_is_still_told() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(OSError, match="No space left"), full.open("w") as file:
        print("x", file=Outliving(file), flush=True)  # type: ignore[call-overload]
