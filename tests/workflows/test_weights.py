"""Bringing weights over loopback, from a server that breaks off, lies, or is not there."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sr_lab import backbones
from sr_lab.base.downloads import DownloadError, download
from sr_lab.cli import main
from sr_lab.metrics.lpips import LPIPSMetric

CONTENT = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = f"alexnet-owt-{DIGEST[:8]}.pth"


class Files(ThreadingHTTPServer):
    """Serves ``content`` in pieces: each answer breaks off after ``most`` bytes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.most, self.asked = CONTENT, len(CONTENT), list[str | None]()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Files

    def do_GET(self) -> None:
        if not self.path.endswith(NAME):
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        rest = self.server.content[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: self.server.most])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    monkeypatch.setitem(backbones.ADDRESSES, "alexnet", f"http://127.0.0.1:9/{NAME}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Files()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_connection_that_breaks_off_is_taken_up_again(files: Files, tmp_path: Path) -> None:
    files.most = len(CONTENT) // 2 + 1
    seen: list[int] = []
    target = download(
        f"{files.address}/{NAME}", tmp_path / NAME, sha256=DIGEST, progress=lambda have, _: seen.append(have)
    )
    assert target.read_bytes() == CONTENT
    assert files.asked == [None, f"bytes={files.most}-"]
    assert seen[-1] == len(CONTENT)
    assert [file.name for file in tmp_path.iterdir()] == [NAME], "no part and no lock is left"


def test_the_next_call_goes_on_where_the_last_one_gave_up(files: Files, tmp_path: Path) -> None:
    files.most = len(CONTENT) // 4
    with pytest.raises(DownloadError, match="broke off"):
        download(f"{files.address}/{NAME}", tmp_path / NAME, sha256=DIGEST, tries=2)
    assert not (tmp_path / NAME).exists()
    files.most = len(CONTENT)
    download(f"{files.address}/{NAME}", tmp_path / NAME, sha256=DIGEST)
    assert files.asked[-1] == f"bytes={len(CONTENT) // 2}-"
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_whole_part_is_not_asked_for_again(files: Files, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    assert download(f"{files.address}/{NAME}", tmp_path / NAME, sha256=DIGEST).read_bytes() == CONTENT


def test_another_file_in_its_place_is_refused_and_not_kept(files: Files, tmp_path: Path) -> None:
    files.content = b"<html>sign in</html>"
    with pytest.raises(ValueError, match="gave another file"):
        download(f"{files.address}/{NAME}", tmp_path / NAME, sha256=DIGEST)
    assert list(tmp_path.iterdir()) == []


def test_the_command_brings_and_lists(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SRLAB_WEIGHTS", str(tmp_path))
    assert main(["weights"]) == 0
    assert "alexnet        missing: srlab weights fetch=alexnet" in capsys.readouterr().out
    assert main(["weights", "fetch=alex", f"mirror={files.address}"]) == 0
    assert str(tmp_path / NAME) in capsys.readouterr().out
    asked = len(files.asked)
    assert main(["weights", "fetch=[alexnet]", f"mirror={files.address}"]) == 0
    assert len(files.asked) == asked, "what is there is not asked for again"
    assert main(["weights"]) == 0
    assert str(tmp_path / NAME) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fetch=alx"], "no such weights; there are alex, vgg"),
        (["fetch=vgg19", "mirror={address}"], "the server answers 404"),
        (["fetch=alex"], "Connection refused. Bring the file from elsewhere and put it at"),
    ],
)
def test_what_cannot_be_had_is_said(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    line = [word.format(address=files.address) for word in words]
    assert main(["weights", *line, f"folder={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_lpips_finds_the_named_folder(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRLAB_WEIGHTS", str(shared / "weights"))
    assert LPIPSMetric(net="alex").reason is None
