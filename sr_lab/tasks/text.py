"""How far a text that was read is from the true one, and what of it was invented."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sr_lab.base.extras import install
from sr_lab.images.found import Found, Reading


@dataclass(frozen=True, kw_only=True)
class TextErrors:
    """Errors of a text that was read.

    Attributes:
        characters: Insertions, deletions and substitutions, at the least, that turn one text into the other.
        words: The same of whole words.
        true_characters: Characters of the truth, at least 1.
        true_words: Words of the truth, at least 1.
        invented: Wrong characters (substituted or inserted; no blanks) in words that were read with confidence.
        invented_digits: Digits among those.
    """

    characters: int
    words: int
    true_characters: int
    true_words: int
    invented: int
    invented_digits: int

    @property
    def cer(self) -> float:
        """Character error rate; above 1 where more was read than is there."""
        return self.characters / self.true_characters

    @property
    def wer(self) -> float:
        """Word error rate."""
        return self.words / self.true_words


def text_of(reading: Reading) -> str:
    """What was read, in order, with single blanks."""
    return " ".join(" ".join(found.text.split()) for found in reading if found.text.strip())


def text_errors(reading: Reading, truth: Reading, *, sure: float = 0.8) -> TextErrors:
    """Compares what was read with the truth, along the shortest sequence of edits (Levenshtein 1966).

    Args:
        reading: In order of reading, each part with its confidence.
        truth: In order of reading.
        sure: Confidence from which on a wrong character counts as invented, and not as an honest doubt.

    Raises:
        ModuleNotFoundError: without rapidfuzz.

    Example:
        >>> from sr_lab.images.found import Found
        >>> box = (0.0, 0.0, 9.0, 9.0)
        >>> read = (Found(text="total", box=box, confidence=0.9), Found(text="17.50", box=box, confidence=0.95))
        >>> errors = text_errors(read, (Found(text="total 11.50", box=box),))
        >>> errors.characters, errors.invented, errors.invented_digits
        (1, 1, 1)
    """
    levenshtein = _levenshtein()
    ours, theirs = text_of(reading), text_of(truth)
    confident = _confident(reading, sure)
    assert len(confident) == len(ours)
    edits = levenshtein.editops(ours, theirs)
    wrong = [edit.src_pos for edit in edits if edit.tag in ("replace", "delete")]
    invented = [ours[place] for place in wrong if confident[place] and not ours[place].isspace()]
    return TextErrors(
        characters=len(edits),
        words=levenshtein.distance(ours.split(), theirs.split()),
        true_characters=max(1, len(theirs)),
        true_words=max(1, len(theirs.split())),
        invented=len(invented),
        invented_digits=sum(character.isdigit() for character in invented),
    )


def lacking() -> str | None:
    """What is missing for comparing texts, with the remedy; None where nothing is."""
    try:
        _levenshtein()
    except ModuleNotFoundError:
        return f"rapidfuzz is not installed: {install('rapidfuzz')}"
    return None


def _confident(reading: Sequence[Found], sure: float) -> list[bool]:
    """Of each character of ``text_of`` whether it was read with confidence; blanks between parts were not read."""
    found: list[bool] = []
    for part in reading:
        if not part.text.strip():
            continue
        found += [False] if found else []
        found += [part.confidence >= sure] * len(" ".join(part.text.split()))
    return found


def _levenshtein() -> Any:
    from rapidfuzz.distance import Levenshtein

    return Levenshtein
