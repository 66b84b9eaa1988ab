"""Asking people: a blind study is made, more raters are asked, and the answers are analysed."""

import base64
import csv
import io
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sr_lab.base.files import replacing_folder, require_folder_name, sha256, write_bytes, write_json, write_text
from sr_lab.base.provenance import git_state
from sr_lab.base.randomness import digest64
from sr_lab.base.signals import saying
from sr_lab.base.statistics.preferences import fit
from sr_lab.base.words import counted, line, setting
from sr_lab.degradations.base import Degradation
from sr_lab.evaluation.contact_sheet import picture
from sr_lab.evaluation.pairs import find_pairs
from sr_lab.images.folders import by_stem
from sr_lab.inference.restorers import Restorer
from sr_lab.metrics.base import PerImageMetric
from sr_lab.metrics.protocol import Protocol
from sr_lab.study.ballots import read_answers
from sr_lab.study.page import page_of
from sr_lab.study.plan import ANSWERS, CODES, PAGE, PICTURES, Deck, Picture, Plan, extended, new_codes
from sr_lab.study.ranking import Ranking, count, rank
from sr_lab.study.report import report_of
from sr_lab.study.rules import Rules
from sr_lab.study.selection import FEW, pairs_of
from sr_lab.workflows.showing import ORIGINAL, Folder, cut_out, measured, shown, weights_of

__all__ = ["RESULT", "VOTES", "Analysis", "Made", "Ranking", "Rules", "analyse", "create", "how_to_go_on", "more"]

REPORT, RESULT = "report.html", "result.json"
INDEX = "index.html"
VOTES = 40
"""Pairs that a rater judges, unless it is said otherwise."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A study that was made, or got more raters.

    Attributes:
        plan: Of it.
        folder: Where it lies.
        page: What raters open.
        codes: The new raters' codes.
        trials: Pairs that one rater is shown, checks among them.
        checks: Checks among them.
    """

    plan: Plan
    folder: Path
    page: Path
    codes: Sequence[str]
    trials: int
    checks: int

    @property
    def text(self) -> str:
        """How many codes there are, what raters do, and the commands that come next."""
        codes = f"{counted(len(self.codes), 'code')} in {self.folder / 'codes.csv'}"
        judged = f"each rater judges {counted(self.trials, 'pair')}, {self.checks} of them checks"
        next_ones = (f"{what}: {command}" for what, command in how_to_go_on(self.folder).items())
        return "\n".join([f"{codes}; {judged}", f"page: {self.page}", *next_ones])


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What the answers say.

    Attributes:
        ranking: The result.
        report: Page of it.
        result: The numbers, JSON.
        refused: Answers that were not taken, with the reason.
    """

    ranking: Ranking
    report: Path
    result: Path
    refused: Sequence[str]

    @property
    def text(self) -> str:
        """Who counts, the scores with their intervals, whether more raters may decide it, what was not taken."""
        ranking = self.ranking
        left_out = len(ranking.raters) - len(ranking.counted)
        rows = [
            f"{counted(ranking.num_votes, 'vote')} of {counted(len(ranking.counted), 'rater')} on "
            f"{counted(ranking.num_images, 'image')}; {left_out} left out by the rules"
        ]
        for standing in ranking.standings:
            bounds = "" if math.isnan(standing.low) else f"  [{standing.low:+.2f}, {standing.high:+.2f}]"
            rows.append(f"  {standing.name}: {standing.score:+.2f}{bounds}")
        rows += [f"note: {note}" for note in ranking.notes]
        if ranking.stopping is not None:
            decided = f"may stop: a preference is shown since rater {ranking.stopping.decided_at}"
            told = {"open": "still open: more raters may decide it", "alike": "may stop: the two are alike"}
            rows.append(told.get(ranking.stopping.outcome, decided))
        return "\n".join([*rows, *(f"not taken: {text}" for text in self.refused)])


def create(
    restorers: Mapping[str, Restorer | Folder],
    images: Path,
    *,
    output: Path,
    scale: int,
    protocol: Protocol,
    rules: Rules,
    metrics: Mapping[str, PerImageMetric],
    as_input: bool = False,
    degradation: Degradation | None = None,
    title: str = "Which picture looks better?",
    question: str = "Which picture looks better?",
    display: Literal["side", "flicker", "choose"] = "choose",
    show_original: bool = False,
    side: int = 400,
    where: Literal["differing", "random"] = "differing",
    num_images: int | None = None,
    raters: int = 20,
    votes: int = VOTES,
    checks: float = 0.125,
    blur: float = 3.0,
    embedded: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Made:
    """Restores the images, cuts the same part out of all results, deals the pairs and writes the page.

    The folder appears whole or not at all. ``page/`` in it is what raters get, nothing else; it can be sent as it is,
    or served by ``srlab serve study=DIR``. ``study.json`` says what is behind the pictures' names: it stays here.

    Args:
        restorers: By name; two or more.
        images: As for ``showing.shown``.
        output: Folder that is made.
        scale: Enlargement factor.
        protocol: How originals are cropped and made small; what metrics compare.
        rules: Who will not be counted, fixed now.
        metrics: Measured on what is shown, to be held against what people say.
        as_input: Whether ``images`` are what restorers get.
        degradation: Makes the low images of originals.
        title: Of the page; it should not name the restorers.
        question: What raters are asked.
        display: Side by side, in one place in turn, or as the rater likes.
        show_original: Whether the original is shown between the two.
        side: Longest side of what is shown, in pixels of the screen; a larger picture is cut.
        where: What is cut out: where the results ``differ`` most, or a place drawn at random.
        num_images: At most so many images, evenly spread; None: all.
        raters: Codes to give out.
        votes: Pairs that a rater judges, beside the checks; at most every pair of restorers on every image.
        checks: Share of check pairs among all.
        blur: Standard deviation of the blur of a check pair, in pixels.
        embedded: Whether the page holds the pictures itself, as one file.
        seed: Of every draw.
        device: Where the restorers compute.
        progress: Whether a progress bar is shown where there is a terminal.

    Raises:
        FileExistsError: If the folder is there.
        ValueError: If the settings do not fit together, or an image cannot be restored.
    """
    _check(restorers, raters=raters, votes=votes, checks=checks, side=side, display=display, where=where)
    if show_original and as_input:
        raise ValueError("show_original=true shows originals, and as_input=true has none")
    require_folder_name(output, key="output")
    if output.exists():
        raise FileExistsError(f"{output} is there already: give another output=, or remove it")
    names, secret = list(restorers), secrets.token_hex(16)
    parts: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    values: dict[str, dict[str, dict[str, float]]] = {}
    with saying(f"while the images were restored; {output} is not made"):
        for image in shown(
            restorers, images, scale=scale, protocol=protocol, as_input=as_input, degradation=degradation, seed=seed,
            device=device, most=num_images, progress="restoring" if progress else None,
        ):  # fmt: skip
            cut = cut_out(image, side=side, scale=scale, where=where, seed=seed)
            blurred = _blurred(cut.target if cut.target is not None else cut.restored[names[0]], blur)
            parts[image.name] = {**cut.pictures(), "blur": picture(blurred)}
            if cut.target is not None:
                target = cut.target
                values[image.name] = {
                    name: measured(metrics, cut, restored, target) for name, restored in cut.restored.items()
                }
    deck = Deck(names=names, images=list(parts), secret=secret, seed=seed, originals=not as_input)
    asked = pairs_of(len(names), np.random.default_rng(digest64("pairs", seed, 0)))
    blocks = [deck.deal(asked, count=votes, checks=checks, block=number) for number in range(raters)]
    for image_name in parts if show_original else ():
        deck.name(Picture(image=image_name, shows=ORIGINAL))
    plan = Plan(
        id=f"{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(3)}",
        seed=seed,
        secret=secret,
        title=title,
        question=question,
        display=display,
        reference=show_original,
        restorers={name: {"weights": weights_of(restorer)} for name, restorer in restorers.items()},
        images=list(parts),
        scale=scale,
        pictures=_every_picture(deck, names, parts, originals=not as_input),
        trials=deck.trials,
        blocks=blocks,
        codes=new_codes(raters),
        rules=rules,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        measured=values,
        lower=[metric.key for metric in metrics.values() if not metric.higher_is_better],
        files=_hashes(images, list(parts), scale=scale, as_input=as_input),
        facts={
            "images": str(images), "degradation": type(degradation).__name__ if degradation else "bicubic",
            "as_input": as_input, "side": side, "where": where, "votes": votes, "checks": checks, "blur": blur,
            "embedded": embedded, "protocol": protocol.name, "code": git_state().commit or "unknown",
        },
    )  # fmt: skip
    with saying(f"{output} is made"), replacing_folder(output) as folder:
        (folder / ANSWERS).mkdir()
        for name, shows in plan.pictures.items():
            write_bytes(folder / PICTURES / f"{name}.png", _png(parts[shows.image][shows.shows]))
        _write(plan, folder)
    return _made(plan, output, plan.codes)


def more(folder: Path, *, raters: int, votes: int | None = None) -> Made:
    """Asks further raters: new codes; of more than six restorers the pairs that tell most after the answers so far.

    Raises:
        ValueError: If a number is out of range, or the study is not whole.
    """
    plan = Plan.read(folder)
    if raters < 1:
        raise ValueError(f"raters={raters}: 1 or more")
    deck = Deck(
        names=plan.names, images=plan.images, secret=plan.secret, seed=plan.seed, originals=not plan.facts["as_input"]
    )
    numbers = {name: index for index, name in enumerate(plan.names)}
    places = {name: index for index, name in enumerate(plan.images)}
    for block in plan.blocks:
        for trial in (plan.trials[id] for id in block):
            if trial.kind == "pair":
                one, other = plan.pictures[trial.first], plan.pictures[trial.second]
                low, high = sorted((numbers[one.shows], numbers[other.shows]))
                cell = (low, high, places[one.image])
                deck.counts[cell] = deck.counts.get(cell, 0) + 1
    random = np.random.default_rng(digest64("pairs", plan.seed, len(plan.blocks)))
    asked = pairs_of(len(plan.names), random)
    if len(plan.names) > FEW and (ballots := read_answers(folder, plan)[0]):
        fitted = fit(count(plan, ballots).votes)
        asked = pairs_of(len(plan.names), random, mean=fitted.scores, covariance=fitted.posterior, tie=fitted.tie)
    count_of = votes or int(plan.facts["votes"])
    first = len(plan.blocks)
    share = float(plan.facts["checks"])
    blocks = [deck.deal(asked, count=count_of, checks=share, block=first + number) for number in range(raters)]
    codes = new_codes(raters, taken=plan.codes)
    plan = extended(plan, deck, blocks, codes)
    _write(plan, folder)
    return _made(plan, folder, codes)


def analyse(
    folder: Path,
    *,
    report: Path | None = None,
    alpha: float = 0.05,
    num_draws: int = 1000,
    margin: float = 0.05,
    num_pictures: int = 12,
) -> Analysis:
    """Counts the answers under the study's rules, ranks the restorers, and writes report.html and result.json.

    Args:
        folder: Of the study; answers are ``answers/collected.jsonl`` (over HTTP) and ``answers/*.json`` (files).
        report: Folder of the two; None: the study's.
        alpha: Error of the two-sided intervals.
        num_draws: Draws of each bootstrap.
        margin: Of two restorers, the distance from an even share that is too small to matter.
        num_pictures: Pairs on which people and a metric disagree that the page shows.

    Raises:
        ValueError: If no vote counts, or the study was changed after it was made.
    """
    if not 0 < alpha < 0.5 or num_draws < 2:
        raise ValueError(f"alpha={alpha}, draws={num_draws}: between 0 and 0.5, and 2 or more")
    plan = Plan.read(folder)
    ballots, refused = read_answers(folder, plan)
    ranking = rank(plan, ballots, alpha=alpha, num_draws=num_draws, margin=margin)
    place = report or folder
    shown_pairs = {}
    for dissent in ranking.dissents[:num_pictures]:
        for name in (dissent.preferred, dissent.other):
            shown_pairs[dissent.image, name] = _kept(folder, plan, dissent.image, name)
    html = report_of(plan, ranking, refused=refused, pictures=shown_pairs, num_dissents=num_pictures)
    write_json(place / RESULT, ranking.as_dict())
    write_text(place / REPORT, html)
    return Analysis(ranking=ranking, report=place / REPORT, result=place / RESULT, refused=refused)


def how_to_go_on(folder: Path) -> dict[str, str]:
    """The commands that come after a study was made."""
    return {
        "to collect over HTTP": line("serve", setting("study", folder)),
        "to analyse": line("study", "action=analyse", setting("output", folder)),
    }


def _made(plan: Plan, folder: Path, codes: Sequence[str]) -> Made:
    shown = [plan.trials[id] for id in plan.blocks[-1]]
    return Made(
        plan=plan, folder=folder, page=folder / PAGE / INDEX, codes=codes, trials=len(shown),
        checks=sum(trial.kind != "pair" for trial in shown),
    )  # fmt: skip


def _check(
    restorers: Mapping[str, object], *, raters: int, votes: int, checks: float, side: int, display: str, where: str
) -> None:
    if len(restorers) < 2:
        raise ValueError("a study compares two restorers or more: give restorers=[A,B]")
    if raters < 1 or votes < 1 or side < 32:
        raise ValueError(f"raters={raters}, votes={votes}, side={side}: at least 1, 1 and 32")
    if not 0 <= checks <= 0.5:
        raise ValueError(f"checks={checks}: a share from 0 to 0.5")
    if display not in ("side", "flicker", "choose"):
        raise ValueError(f"display={display}: side, flicker or choose")
    if where not in ("differing", "random"):
        raise ValueError(f"where={where}: differing or random")


def _hashes(folder: Path, names: Sequence[str], *, scale: int, as_input: bool) -> dict[str, str]:
    """SHA-256 of the file of each image: of the original, or of what restorers get."""
    files = by_stem(folder) if as_input else {pair.name: pair.high for pair in find_pairs(folder, scale=scale)}
    return {name: sha256(files[name]) for name in names}


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur, borders mirrored."""
    radius = min(round(3 * sigma), min(image.shape[-2:]) - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    weights = torch.exp(-offsets.square() / (2 * sigma**2))
    weights = (weights / weights.sum()).view(1, 1, -1, 1).expand(image.shape[1], 1, -1, 1)
    for _ in range(2):
        image = functional.pad(image, (0, 0, radius, radius), mode="reflect")
        image = functional.conv2d(image, weights, groups=image.shape[1]).transpose(-1, -2)
    return image


def _every_picture(
    deck: Deck, names: Sequence[str], images: Mapping[str, object], *, originals: bool
) -> dict[str, Picture]:
    """All pictures that trials of this study or of later raters may show."""
    for image in images:
        for name in names:
            for copy in (0, 1):
                deck.name(Picture(image=image, shows=name, copy=copy))
        for shows in ("blur", *([ORIGINAL] if originals else [])):
            deck.name(Picture(image=image, shows=shows))
    return dict(sorted(deck.pictures.items()))


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    """A PNG without anything beside its pixels."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def _write(plan: Plan, folder: Path) -> None:
    """Plan, codes, and the page with the pictures that its trials show, and no others."""
    shows = {name for trial in plan.trials.values() for name in (trial.first, trial.second)}
    if plan.reference:
        shows |= {name for name, picture in plan.pictures.items() if picture.shows == ORIGINAL}
    embedded = None
    with replacing_folder(folder / PAGE) as page:
        if plan.facts.get("embedded"):
            embedded = {
                name: "data:image/png;base64," + base64.b64encode(_stored(folder, name)).decode() for name in shows
            }
        else:
            for name in shows:
                write_bytes(page / PICTURES / f"{name}.png", _stored(folder, name))
        write_text(page / INDEX, page_of(plan, embedded=embedded))
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["code", "link"])
    table.writerows([code, f"{PAGE}/{INDEX}#code={code}"] for code in plan.codes)
    write_text(folder / CODES, stream.getvalue())
    plan.write(folder)


def _stored(folder: Path, name: str) -> bytes:
    return (folder / PICTURES / f"{name}.png").read_bytes()


def _kept(folder: Path, plan: Plan, image: str, shows: str) -> bytes:
    name = next(
        name
        for name, picture in plan.pictures.items()
        if (picture.image, picture.shows, picture.copy) == (image, shows, 0)
    )
    return _stored(folder, name)
