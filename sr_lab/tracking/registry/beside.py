"""What registering puts beside a model's own files: the model cards, one for each version that is made of it."""

import shutil
from pathlib import Path

CARD = "MODEL_CARD.md"
"""The card of a version, once it is downloaded; earlier releases kept it under this name beside the model too."""
CARDS = "cards"
WRITTEN_LATER = (CARD, f"{CARDS}/", "environment/")
"""Beginnings of the names of what is added to a model after its run has written it."""


def card_of(name: str, version: int) -> str:
    """Where a version's card lies beside the model's files: two names of one model have a card each."""
    return f"{CARDS}/{name}-{version}.md"


def place_card(folder: Path, name: str, version: int) -> None:
    """Makes the version's own card the ``MODEL_CARD.md`` of a downloaded model; one of an earlier release stays."""
    own = folder / card_of(name, version)
    if own.is_file():
        own.replace(folder / CARD)
    shutil.rmtree(folder / CARDS, ignore_errors=True)
