"""Ballots: what raters answered, collected over HTTP or sent as files; nothing is ever changed or taken away."""

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from sr_lab.base.errors import SRLabError
from sr_lab.study.plan import ANSWERS, Plan

COLLECTED = "collected.jsonl"
SIDES = ("left", "tie", "right")
_MOST_SECONDS = 86400.0


class Refused(SRLabError, ValueError):
    """An answer that does not belong to the study.

    Args:
        text: What is wrong.
        kind: ``answer``; ``code`` that the study does not know; ``again`` for a pair that was answered otherwise.
    """

    def __init__(self, text: str, *, kind: Literal["answer", "code", "again"] = "answer") -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, kw_only=True)
class Ballot:
    """One answer. Nothing in it says who gave it.

    Attributes:
        rater: Code of the rater.
        trial: Id of the trial.
        left: Picture on the left.
        right: Picture on the right.
        answer: ``left``, ``tie`` or ``right``.
        seconds: From when both were seen to the answer.
        ratio: Device pixels a CSS pixel.
        display: ``side`` or ``flicker``.
    """

    rater: str
    trial: str
    left: str
    right: str
    answer: str
    seconds: float
    ratio: float = 1.0
    display: str = "side"

    @property
    def chosen(self) -> str:
        """The picture that is preferred, or ``tie``."""
        return {"left": self.left, "right": self.right}.get(self.answer, "tie")


def ballot_of(plan: Plan, given: object) -> Ballot:
    """A ballot out of what came.

    Raises:
        Refused: If it is none of this study: unknown code, another rater's trial, other sides than were drawn.
    """
    if not isinstance(given, Mapping):
        raise Refused("an answer is a JSON object")
    known = set(Ballot.__dataclass_fields__)
    if set(given) != known:
        raise Refused(f"an answer has the members {', '.join(sorted(known))}")
    text = {name: given[name] for name in ("rater", "trial", "left", "right", "answer", "display")}
    if not all(isinstance(value, str) and len(value) <= 64 for value in text.values()):
        raise Refused("rater, trial, left, right, answer and display are short texts")
    numbers = {name: given[name] for name in ("seconds", "ratio")}
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers.values()):
        raise Refused("seconds and ratio are numbers")
    if not (0 <= numbers["seconds"] <= _MOST_SECONDS and 0 < numbers["ratio"] <= 16):
        raise Refused(f"seconds are 0 to {_MOST_SECONDS:.0f}, ratio is above 0 and at most 16")
    ballot = Ballot(**text, seconds=float(numbers["seconds"]), ratio=float(numbers["ratio"]))
    block = plan.block_of(ballot.rater)
    if block is None:
        raise Refused("this study has no such code", kind="code")
    if ballot.trial not in block:
        raise Refused("this pair is not one of this code's")
    if (ballot.left, ballot.right) != plan.trials[ballot.trial].sides(plan.seed, ballot.rater):
        raise Refused("the sides are not those that were drawn")
    if ballot.answer not in SIDES or ballot.display not in ("side", "flicker"):
        raise Refused(f"answer is one of {', '.join(SIDES)}, display is side or flicker")
    return ballot


class BallotBox:
    """The ballots that come over HTTP: a line of JSON each, flushed to the disk before it is acknowledged.

    Args:
        folder: Of the study.
        plan: The study.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        self.file = folder / ANSWERS / COLLECTED
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._process_lock = FileLock(str(self.file.with_suffix(".lock")))
        self._read = 0
        self._answers: dict[tuple[str, str], str] = {}

    def add(self, given: object) -> bool:
        """Adds an answer; False where the same one is there already.

        Raises:
            Refused: If it does not belong to the study, or this pair was answered otherwise before: the first counts.
            OSError: If it cannot be written; then it is not there.
        """
        ballot = ballot_of(self.plan, given)
        with self._lock, self._process_lock:
            self._catch_up()
            before = self._answers.get((ballot.rater, ballot.trial))
            if before is not None:
                if before != ballot.answer:
                    raise Refused("this pair was answered before, and the first answer counts", kind="again")
                return False
            size = self.file.stat().st_size if self.file.exists() else 0
            with self.file.open("ab") as stream:
                try:
                    stream.write((("\n" if size != self._read else "") + json.dumps(asdict(ballot)) + "\n").encode())
                    stream.flush()
                    os.fsync(stream.fileno())
                except OSError:
                    os.truncate(self.file, size)
                    raise
            self._catch_up()
        return True

    def answered(self, code: str) -> list[str]:
        """Trials that a rater has answered here already, so that another device goes on."""
        with self._lock, self._process_lock:
            self._catch_up()
        return [trial for rater, trial in self._answers if rater == code]

    def _catch_up(self) -> None:
        """Reads the whole lines that were added since, by whatever process."""
        if not self.file.is_file():
            return
        with self.file.open("rb") as stream:
            stream.seek(self._read)
            fresh = stream.read()
        whole = fresh.rpartition(b"\n")
        self._read += len(whole[0]) + len(whole[1])
        for ballot in _ballots(whole[0].decode(errors="replace").splitlines(), self.plan):
            self._answers.setdefault((ballot.rater, ballot.trial), ballot.answer)


def read_answers(folder: Path, plan: Plan) -> tuple[list[Ballot], list[str]]:
    """All ballots of a study's folder ``answers``, the first of each rater and trial, and what was not taken.

    ``collected.jsonl`` comes first, then the raters' files (``*.json``) by name.

    Raises:
        ValueError: If a file is of another study, or of a plan with other rules.
    """
    place = folder / ANSWERS
    ballots: dict[tuple[str, str], Ballot] = {}
    refused: list[str] = []

    def take(ballot: Ballot, where: str) -> None:
        before = ballots.setdefault((ballot.rater, ballot.trial), ballot)
        if before.answer != ballot.answer:
            refused.append(f"{where}: {ballot.rater} answered trial {ballot.trial} twice: the first answer counts")

    for ballot in _lines(place / COLLECTED, plan, refused):
        take(ballot, COLLECTED)
    for file in sorted(place.glob("*.json")) if place.is_dir() else []:
        for ballot in _from_file(file, plan, refused):
            take(ballot, file.name)
    return list(ballots.values()), refused


def _from_file(file: Path, plan: Plan, refused: list[str]) -> Iterator[Ballot]:
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        given: Sequence[object] = content["ballots"]
        study, seal = content["study"], content["seal"]
    except (ValueError, KeyError, TypeError):
        refused.append(f"{file.name}: not a file of answers")
        return
    if study != plan.id:
        refused.append(f"{file.name}: answers to another study")
        return
    if seal != plan.seal:
        raise ValueError(
            f"{file} was answered under other rules than {plan.id} has now: rules are fixed before the first vote"
        )
    for entry in given:
        try:
            yield ballot_of(plan, entry)
        except Refused as error:
            refused.append(f"{file.name}: {error}")


def _lines(file: Path, plan: Plan, refused: list[str]) -> Iterator[Ballot]:
    if file.is_file():
        yield from _ballots(file.read_text(encoding="utf-8", errors="replace").splitlines(), plan, file.name, refused)


def _ballots(lines: Sequence[str], plan: Plan, where: str = "", refused: list[str] | None = None) -> Iterator[Ballot]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield ballot_of(plan, json.loads(line))
        except ValueError as error:  # a line that a power cut broke off, or that somebody put there
            if refused is not None:
                refused.append(f"{where}, line {number}: {error}")
