"""The plan of a study: pictures under names that tell nothing, trials, who gets which, and the rules; one JSON file."""

import hashlib
import hmac
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sr_lab.base.files import read_json, write_json
from sr_lab.base.randomness import digest64
from sr_lab.study.drawing import place, swapped
from sr_lab.study.rules import Rules

PLAN, PAGE, PICTURES, ANSWERS, CODES = "study.json", "page", "pictures", "answers", "codes.csv"
"""Names in a study's folder."""

FORMAT = 1
Kind = Literal["pair", "blur", "identical", "repeat"]
Display = Literal["side", "flicker", "choose"]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture that is shown.

    Attributes:
        image: The image that it is of.
        shows: The restorer, ``original`` or ``blur``.
        copy: Number of the copy, so that two names may be one picture.
    """

    image: str
    shows: str
    copy: int = 0


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Two pictures that are compared.

    Attributes:
        id: Name that tells nothing.
        first: Picture's name.
        second: Picture's name.
        kind: ``pair``, or which check.
        key: What the side is drawn by; a repeat has that of the trial that it repeats, and the pictures exchanged.
    """

    id: str
    first: str
    second: str
    kind: Kind = "pair"
    key: str

    def sides(self, seed: int, code: str) -> tuple[str, str]:
        """The pictures on the left and on the right for a rater."""
        return (self.second, self.first) if swapped(seed, code, self.key) else (self.first, self.second)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A study.

    Attributes:
        id: Name of the study.
        seed: Of every draw.
        secret: What picture names and codes are made with; never on the page.
        title: Title of the page; it names no restorer.
        question: What raters are asked.
        display: ``side`` by side, ``flicker`` in one place, or raters ``choose``.
        reference: Whether the original is shown beside the two.
        restorers: By name: what is known of each, its weights' SHA-256 under ``weights``.
        images: Names of the images.
        scale: Enlargement factor.
        pictures: By name on the page.
        trials: By id.
        blocks: Ids of the trials of each block; a rater gets one.
        codes: Code of each rater; its number is the block's.
        rules: Who is not counted.
        measured: Image to restorer to metric to value, of what is shown.
        lower: Metrics whose lower values are better.
        created: When, ISO 8601.
        facts: What else is known of how it was made.
        files: Image to the SHA-256 of its file: the gate asks whether a model has learnt from it.
    """

    id: str
    seed: int
    secret: str
    title: str
    question: str
    display: Display
    reference: bool
    restorers: Mapping[str, Mapping[str, Any]]
    images: Sequence[str]
    scale: int
    pictures: Mapping[str, Picture]
    trials: Mapping[str, Trial]
    blocks: Sequence[Sequence[str]]
    codes: Sequence[str]
    rules: Rules
    created: str
    measured: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    lower: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The restorers, in order."""
        return list(self.restorers)

    @property
    def seal(self) -> str:
        """Hash of what must not change once votes are in: id, restorers with their weights, question, rules, images.

        It stands on the page and in every rater's answers.
        """
        fixed = {
            "id": self.id, "restorers": self.restorers, "question": self.question, "rules": self.rules.as_dict(),
            "secret": self.secret, **({"files": self.files, "created": self.created} if self.files else {}),
        }  # fmt: skip
        return digest(fixed)

    def block_of(self, code: str) -> list[str] | None:
        """The trials that the rater of a code gets; None for a code that the study did not give."""
        if code not in self.codes:
            return None
        return list(self.blocks[self.codes.index(code)])

    def order(self, code: str) -> list[Trial]:
        """The trials of a rater in the order in which they are shown."""
        trials = [self.trials[id] for id in self.block_of(code) or []]
        return sorted(trials, key=lambda trial: (place(self.seed, code, trial.id), trial.id))

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            "format": FORMAT,
            **plain,
            "pictures": {name: asdict(picture) for name, picture in self.pictures.items()},
            "trials": {name: asdict(trial) for name, trial in self.trials.items()},
            "rules": self.rules.as_dict(),
            "seal": self.seal,
        }

    def write(self, folder: Path) -> None:
        """Puts the plan into a study's folder."""
        write_json(folder / PLAN, self.as_dict())

    @classmethod
    def read(cls, folder: Path) -> "Plan":
        """The plan of a study's folder.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is of another format, or was changed where it must not be.
        """
        file = folder / PLAN
        if not file.is_file():
            raise FileNotFoundError(f"{folder} holds no {PLAN}: give the folder that srlab study create made")
        kept = read_json(file)
        if not isinstance(kept, dict) or kept.get("format") != FORMAT:
            raise ValueError(f"{file} is no study of this release (format {FORMAT})")
        given = {name: value for name, value in kept.items() if name not in ("format", "seal")}
        given["pictures"] = {name: Picture(**picture) for name, picture in given["pictures"].items()}
        given["trials"] = {name: Trial(**trial) for name, trial in given["trials"].items()}
        given["rules"] = Rules(**given["rules"])
        plan = cls(**given)
        if plan.seal != kept.get("seal"):
            raise ValueError(
                f"{file}: id, restorers, question or rules were changed after the study was made; they were fixed "
                "beforehand: restore the file, or make a new study"
            )
        return plan


def digest(document: object) -> str:
    """SHA-256 of a JSON-able document, independent of the order of keys."""
    import json

    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def picture_name(secret: str, picture: Picture) -> str:
    """The name of a picture's file: a keyed hash, which nobody without the secret can tell or guess."""
    text = f"{picture.image}\0{picture.shows}\0{picture.copy}"
    return hmac.new(bytes.fromhex(secret), text.encode(), "sha256").hexdigest()[:24]


def new_codes(count: int, *, taken: Sequence[str] = ()) -> list[str]:
    """Codes of further raters: the block's number and six random letters, none of which looks like another."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"
    return [
        f"{number:03d}-{''.join(secrets.choice(letters) for _ in range(6))}"
        for number in range(len(taken), len(taken) + count)
    ]


@dataclass
class Deck:
    """Deals trials to raters, so that pairs, images and cells of both come alike often.

    Args:
        names: The restorers.
        images: The images.
        secret: Of the study.
        seed: Of the study.
        originals: Whether there are originals, which blurred ones are held against.
        pictures: All that were named so far.
        trials: All that were dealt so far.
        counts: Of each pair on an image: how often it was dealt.
    """

    names: Sequence[str]
    images: Sequence[str]
    secret: str
    seed: int
    originals: bool
    pictures: dict[str, Picture] = field(default_factory=dict)
    trials: dict[str, Trial] = field(default_factory=dict)
    counts: dict[tuple[int, int, int], int] = field(default_factory=dict)

    def deal(self, pairs: Iterator[tuple[int, int]], *, count: int, checks: float, block: int) -> list[str]:
        """Ids of the trials of one more block.

        Args:
            pairs: The pairs to ask for.
            count: Trials that are no checks; fewer where there are not so many different ones.
            checks: Share of the checks among all.
            block: Number of the block.
        """
        random = np.random.default_rng(digest64("study", self.seed, block))
        used = np.zeros(len(self.images), dtype=int)
        asked: list[str] = []
        seen: set[tuple[int, int, int]] = set()
        most = len(self.images) * len(self.names) * (len(self.names) - 1) // 2
        while len(asked) < min(count, most):
            first, second = next(pairs)
            first, second = min(first, second), max(first, second)
            cells = np.array([self.counts.get((first, second, image), 0) for image in range(len(self.images))])
            taken = np.array([(first, second, image) in seen for image in range(len(self.images))])
            if taken.all():  # nobody is asked the same twice, but for the checks
                continue
            chosen = int(np.lexsort((random.random(len(cells)), cells, used, taken))[0])
            used[chosen] += 1
            seen.add((first, second, chosen))
            self.counts[first, second, chosen] = self.counts.get((first, second, chosen), 0) + 1
            one, other = (
                self.name(Picture(image=self.images[chosen], shows=self.names[index])) for index in (first, second)
            )
            asked.append(self._add(one, other, kind="pair"))
        return list(dict.fromkeys([*asked, *self._checks(asked, num_checks(len(asked), checks), random, block)]))

    def _checks(self, asked: Sequence[str], count: int, random: np.random.Generator, block: int) -> Iterator[str]:
        kinds = (["blur", "identical", "blur", "repeat"] * count)[:count]
        images = [int(index) for index in random.permutation(len(self.images))] * (count // len(self.images) + 1)
        repeated = [asked[int(index)] for index in random.permutation(len(asked))]
        for number, kind in enumerate(kinds):
            image = self.images[images[number]]
            sharp = "original" if self.originals else self.names[number % len(self.names)]
            if kind == "repeat":
                trial = self.trials[repeated[number % len(repeated)]]
                yield self._add(trial.second, trial.first, kind="repeat", key=trial.key)
            elif kind == "blur":
                yield self._add(
                    self.name(Picture(image=image, shows=sharp)), self.name(Picture(image=image, shows="blur")),
                    kind="blur",
                )  # fmt: skip
            else:
                shows = self.names[(block + number) % len(self.names)]
                yield self._add(
                    self.name(Picture(image=image, shows=shows)), self.name(Picture(image=image, shows=shows, copy=1)),
                    kind="identical",
                )  # fmt: skip

    def name(self, picture: Picture) -> str:
        """The name under which a picture is shown."""
        name = picture_name(self.secret, picture)
        self.pictures[name] = picture
        return name

    def _add(self, first: str, second: str, *, kind: Kind, key: str | None = None) -> str:
        id = hmac.new(bytes.fromhex(self.secret), f"{kind}\0{first}\0{second}".encode(), "sha256").hexdigest()[:12]
        self.trials[id] = Trial(id=id, first=first, second=second, kind=kind, key=key or id)
        return id


def num_checks(count: int, share: float) -> int:
    """Checks among ``count`` other trials so that they are ``share`` of all."""
    return round(count * share / (1 - share))


def extended(plan: Plan, deck: Deck, blocks: Sequence[Sequence[str]], codes: Sequence[str]) -> Plan:
    """The plan with further blocks and codes."""
    return replace(
        plan,
        pictures={**plan.pictures, **deck.pictures},
        trials={**plan.trials, **deck.trials},
        blocks=[*plan.blocks, *blocks],
        codes=[*plan.codes, *codes],
    )
