"""Where the configuration tree lies; the standard library only, so that help answers at once."""

import difflib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def config_dir() -> Path:
    """The configuration tree: ``conf/`` of the checkout, or the copy inside an installed wheel."""
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parent / "conf"


def nearest(word: str, candidates: list[str]) -> str:
    """A hint that names the candidates closest to ``word``; empty where none is close."""
    close = difflib.get_close_matches(word, candidates, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
