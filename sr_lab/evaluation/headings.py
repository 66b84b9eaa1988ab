"""What an evaluation and its images are called in a heading or a caption."""

from pathlib import PurePath


def heading(restorer: str, benchmark: str, scale: int) -> str:
    """What was evaluated on what, for example ``bicubic on Set5, ×4``; of the benchmark's path its last two parts."""
    parts = [part for part in PurePath(benchmark).parts[-2:] if part not in ("/", ".", "..")]
    if parts and parts[-1] == f"x{scale}":
        parts.pop()
    return f"{restorer} on {'/'.join(parts) or benchmark}, ×{scale}"


def shorten(name: str, length: int) -> str:
    """The end of a name that is longer than ``length``: there the images of a set differ."""
    return name if len(name) <= length else "…" + name[1 - length :]
