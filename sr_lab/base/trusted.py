"""Packages beside ours whose classes are built from files that may come from anywhere."""

import os

TRUSTED = "SRLAB_TRUSTED"
"""Environment variable that names them, by commas."""


def trusted_packages() -> list[str]:
    """The packages that ``SRLAB_TRUSTED`` names."""
    return [name.strip(" .") for name in os.environ.get(TRUSTED, "").split(",") if name.strip(" .")]


def is_within(target: str, packages: list[str]) -> bool:
    """Whether a dotted path leads into one of the packages.

    >>> is_within("mine.blur.Blur", ["mine"]), is_within("miner.blur.Blur", ["mine"])
    (True, False)
    """
    return any(target.startswith(f"{package}.") for package in packages)


def trust_hint(target: str) -> str:
    """What to do about a path that leads elsewhere, to be put behind a message; empty where it is ours."""
    package = target.partition(".")[0]
    return "" if package in ("", "sr_lab") else f"; if you trust the package {package}, set {TRUSTED}={package}"
