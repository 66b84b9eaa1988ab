"""A search: trials of one experiment are pulled from a shared queue, trained side by side, compared and reported."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sr_lab.base.errors import ConfigError
from sr_lab.base.files import sha256, write_text
from sr_lab.base.signals import Stopped
from sr_lab.base.words import counted
from sr_lab.data.audit import audit
from sr_lab.data.datamodule import SRDataModule
from sr_lab.images import list_images
from sr_lab.metrics.base import PerImageMetric
from sr_lab.sweeps.launchers import Launcher
from sr_lab.sweeps.outcome import TRIALS, Row, Setting, best, front, rows, settings
from sr_lab.sweeps.plan import Plan
from sr_lab.sweeps.report import REPORT, write_report
from sr_lab.sweeps.session import GivenUp, prepare, watch
from sr_lab.sweeps.space import Choice, Parameter
from sr_lab.tracking.run import Run
from sr_lab.training.cost import NetworkCost

__all__ = [
    "Choice",
    "GivenUp",
    "Launcher",
    "Parameter",
    "Plan",
    "Row",
    "SearchResult",
    "Setting",
    "best",
    "digests",
    "require_measured",
    "search",
    "selection_images",
    "unseen",
]

TABLE, LAUNCHER = "trials.csv", "launcher"


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What became of the trials.

    Attributes:
        plan: What was searched.
        rows: Every trial, in order.
        best: The setting with the best first objective, over its seeds where there are several; None where no trial is
            complete, or where nothing but seeds was searched.
        front: With several objectives the settings that no other one beats in all of them, else empty.
        report: The page for people.
        table: Every trial as CSV; the same as JSON lies beside it.
        winner: The experiment file of the best setting; None where there is none.
    """

    plan: Plan
    rows: Sequence[Row]
    best: Setting | None
    front: Sequence[Setting]
    report: Path
    table: Path
    winner: Path | None = None

    @property
    def failed(self) -> list[Row]:
        """The trials that failed."""
        return [row for row in self.rows if row.state == "failed"]

    @property
    def complete(self) -> bool:
        """Whether a trial came to its end."""
        return any(row.state == "complete" for row in self.rows)

    @property
    def settings(self) -> list[Setting]:
        """The complete trials, those of one setting and several seeds together."""
        return settings(self.rows, self.plan)

    @property
    def lines(self) -> list[str]:
        """How many trials ended how, the front, and where more is told, for people."""
        words = {"complete": "complete", "pruned": "ended early", "failed": "failed"}
        states = [row.state for row in self.rows]
        counts = [f"{states.count(state)} {word}" for state, word in words.items() if state in states]
        if known := sum(row.same_as is not None for row in self.rows):
            counts.append(f"{known} of them not trained, as their settings were known")
        seconds = sum(row.seconds for row in self.rows)
        lines = [
            f"{counted(len(self.rows), 'trial')}: {', '.join(counts) or 'none has ended'}; {seconds:.0f} trial seconds"
        ]
        lines += [f"front: {row.title}, {row.text(self.plan)}, {dict(row.params)}" for row in self.front]
        return [*lines, f"report: {self.report}", f"table: {self.table}"]


def search(
    plan: Plan,
    *,
    launcher: Launcher,
    output: Path,
    num_trials: int | None,
    comparable: Mapping[str, Any],
    run: Run,
    below: Callable[[str | None], Sequence[str]],
    config: Mapping[str, Any],
    experiment: str,
    keep: Callable[[Setting, Sequence[Row]], Path] | None = None,
    progress: Callable[[Sequence[Row]], object] | None = None,
) -> SearchResult:
    """Runs the trials of a plan that have not ended yet, and writes table and report.

    Called again it goes on: no finished trial is lost or repeated, one that was killed or asked to end goes on from its
    checkpoint.

    Args:
        plan: What is searched, how, and what a trial runs.
        launcher: Where the workers run.
        output: Folder of the table, the report, and the launcher's scripts and logs.
        num_trials: The budget, failed trials included; more than before adds trials. None for the whole grid.
        comparable: Plain values that make two trials comparable; a search that was begun with others is refused.
        run: The tracked run of the search itself; it is finished here.
        below: Gives the settings that record a trial below the run with this id, None where nothing is recorded.
        config: The configuration to record with the run.
        experiment: Name of what is trained, for the report.
        keep: Writes the best setting as an experiment file; None keeps none.
        progress: Is called with the trials whenever one has changed.

    Raises:
        ValueError: If the search was begun with other settings or from another folder, or there is no budget.
        WorkersFailed: If workers ended and left trials; the same call goes on.
        GivenUp: If the first trials all failed; table and report are written.
        Stopped: If the process is asked to end; the trials are stopped so that the same call goes on with them.
    """
    tell = progress or (lambda found: None)
    with run as tracked:
        plan = replace(plan, train=(*plan.train, *below(tracked.uid)))
        study = prepare(plan, num_trials=num_trials, settings=comparable)
        tracked.log_config(dict(config))
        given_up: GivenUp | None = None
        try:
            found = watch(plan, study, launcher, output / LAUNCHER, progress=tell)
        except GivenUp as error:
            found, given_up = rows(study, plan), error
        except Stopped as stop:
            found = rows(study, plan)
            ended = sum(row.ended for row in found)
            said = (
                f"{counted(ended, 'trial', 'has/have', of=len(found))} ended; those that ran go on from "
                f"their checkpoints"
            )
            raise stop.saying(said, goes_on=True) from None
        result = SearchResult(
            plan=plan,
            rows=found,
            best=best(found, plan),
            front=front(found, plan) if len(plan.objectives) > 1 else (),
            report=output / REPORT,
            table=output / TABLE,
        )
        write_text(result.table, _table(found, plan))
        trials = {"objectives": dict(plan.objectives), "trials": [row.as_dict() for row in found]}
        write_text(output / TRIALS, json.dumps(trials, indent=1))
        write_report(result.report, study, plan, found, title=plan.name, experiment=experiment)
        tracked.log_file(result.report)
        tracked.log_table([_flat(row, plan) for row in found], "tables/trials.json")
        if result.best is not None:
            tracked.log_metrics(dict(zip(plan.objectives, result.best.values, strict=True)), result.best.numbers[0])
        if given_up is not None:
            given_up.result = result
            raise given_up
    if result.best is not None and keep is not None:
        result = replace(result, winner=keep(result.best, found))
    return result


def require_measured(
    objectives: Sequence[str], *, metrics: Iterable[PerImageMetric], callbacks: Iterable[object]
) -> None:
    """Refuses an objective that no trial would log.

    Args:
        objectives: Logged keys, as ``val/psnr_y``.
        metrics: The metrics of a trial's validation.
        callbacks: The callbacks of a trial; what one measures stands in its ``measures``.

    Raises:
        ConfigError: Naming what is measured, and how the costs of a network would be.
    """
    measured = [f"val/{metric.key}" for metric in metrics]
    measured += [key for callback in callbacks for key in getattr(callback, "measures", ())]
    for key in objectives:
        if key not in measured:
            remedy = "; callbacks=[cost] in train=[...] measures it" if key in NetworkCost.measures else ""
            raise ConfigError(f"objectives: {key} is not measured: there are {', '.join(measured)}{remedy}")


def selection_images(data: SRDataModule) -> list[Path]:
    """The validation files of a training's data: a search selects on them."""
    return [file for item in data.sources["val"].items for _, file in item.files]


def digests(files: Sequence[Path]) -> list[str]:
    """SHA-256 of each file, once, sorted."""
    return sorted({sha256(file) for file in files})


def unseen(holdouts: Mapping[str, Path], images: Sequence[Path]) -> dict[str, str]:
    """Refuses validation images that show a picture of a hold-out on which a promotion is decided.

    Compared by content: same file, same pixels, or recompressed, resized, cropped or turned (see ``data.audit``).

    Args:
        holdouts: Folders of the hold-outs, by the policy and the part of it.
        images: Images that the search selects on.

    Returns:
        What was found, by hold-out, for the record.

    Raises:
        ValueError: If there is one, naming the pictures and the policy.
    """
    found: dict[str, str] = {}
    for name, folder in holdouts.items():
        label = f"{name} ({folder})"
        if not folder.is_dir():
            found[label] = "not on this machine, not compared; srlab promote compares"
            continue
        tests = list_images(folder)
        pairs = [
            f"{match.file} {'is' if match.kind == 'same file' else 'shows'} {match.other} ({match.kind})"
            for match in audit(images, tests).leaks
        ]
        if pairs:
            more = f" and {len(pairs) - 3} more" if len(pairs) > 3 else ""
            raise ValueError(
                f"the sweep would select on the hold-out of policy {name.partition('.')[0]}: "
                f"{'; '.join(pairs[:3])}{more}. A model chosen there cannot be promoted honestly: give other "
                "validation images (data.val), or the policy another hold-out; policies=[...] names those that count"
            )
        found[label] = (
            f"none of its {counted(len(tests), 'image')} is among the {counted(len(images), 'validation file')}"
        )
    return found


def _flat(row: Row, plan: Plan) -> dict[str, Any]:
    values = dict(zip(plan.objectives, row.values, strict=False))
    known = {"trial": row.number, "state": row.state, **row.params, **values, "seconds": row.seconds}
    return {**known, "steps": row.steps, "attempts": row.attempts, "same_as": row.same_as, "error": row.error}


def _table(found: Sequence[Row], plan: Plan) -> str:
    text = io.StringIO()
    columns = ["trial", "state", *plan.space, *plan.objectives, "seconds", "steps", "attempts", "same_as", "error"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_flat(row, plan) for row in found)
    return text.getvalue()
