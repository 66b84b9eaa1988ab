"""Search settings of an experiment: trials are pulled from a shared queue and trained side by side.

    srlab sweep experiment=edsr_tiny_x2_photos sweep=learning_rate
    srlab sweep experiment=E sweep=quality_latency launcher=slurm storage=postgresql://...
    srlab sweep experiment=E num_trials=8 '+space.lr={_target_: sr_lab.sweeps.space.Float, key: optimizer.lr, low: 1e-4,
        high: 1e-2, log: true}' '+objectives={val/psnr_y: maximize}'

Each trial is `srlab train` in OUTPUT/trials/NUMBER. The same command again goes on where a killed sweep stopped: no
finished trial is lost or repeated, one that was killed goes on from its checkpoint, one that fails is kept with its
error. Where the first trials all fail, the others are not begun (give_up). Writes OUTPUT/report.html,
OUTPUT/trials.csv and .json, and the winner as an experiment file. Exit code 0 only if every trial of the budget has
ended and one was complete. A sweep whose validation images show a picture of a promotion policy's hold-out is
refused.
"""

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig
from tqdm import tqdm

from sr_lab.base.errors import ConfigError
from sr_lab.base.files import write_text
from sr_lab.commands._selection import hashes, require_fresh_holdouts, selection_images
from sr_lab.commands._winner import winner_text, write_winner
from sr_lab.config.compose import build, compose, plain
from sr_lab.sweeps.outcome import TRIALS, Row, best, front, rows
from sr_lab.sweeps.plan import Plan
from sr_lab.sweeps.report import REPORT, write_report
from sr_lab.sweeps.session import GivenUp, prepare, watch
from sr_lab.sweeps.space import Choice, Parameter
from sr_lab.sweeps.worker import words

FOLDER, TABLE, SELECTION = "trials", "trials.csv", "selection.json"
COSTS = ("val/latency_ms", "val/parameters", "val/gigaops")
_NO_PRUNER = "optuna.pruners.NopPruner"


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    output = Path(cfg.output).resolve()
    output.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(output / ".lock", timeout=0):
            return sweep(cfg, output)
    except Timeout as error:
        raise ValueError(f"output={cfg.output} is in use by another sweep: wait for it, or give name=...") from error


def sweep(cfg: DictConfig, output: Path) -> int:
    """Searches as ``cfg`` says, into ``output``; the exit code."""
    fixed = [f"experiment={cfg.experiment}", *cfg.needs, *cfg.train]
    space: dict[str, Parameter] = {label: build(node) for label, node in cfg.space.items()}
    if wrong := [label for label, parameter in space.items() if not isinstance(parameter, Parameter)]:
        raise ConfigError(
            f"space.{wrong[0]} is no parameter: _target_ is sr_lab.sweeps.space.Float, .Integer or .Choice"
        )
    config = compose("train", fixed)
    images = _check(cfg, fixed, config, space)
    holdouts = require_fresh_holdouts(list(cfg.policies), images)
    selected = hashes(images)
    write_text(output / SELECTION, json.dumps({"sha256": selected, "holdouts": holdouts}, indent=1))
    for label, text in holdouts.items():
        print(f"hold-out of policy {label}: {text}")
    with build(cfg.tracking, name=cfg.name, directory=output / "tracking", tags={"kind": "sweep"}) as tracked:
        plan = _plan(cfg, output, space, [*fixed, *_tracking(cfg.tracking, tracked.uid)])
        settings = {"training": config_of(config), "space": plain(cfg.space), "objectives": plain(cfg.objectives)}
        study = prepare(plan, num_trials=cfg.num_trials, settings=settings)
        tracked.log_config(plain(cfg))
        given_up = None
        with tqdm(desc=cfg.name, unit="trial", total=0) as bar:
            try:
                found = watch(
                    plan, study, build(cfg.launcher), output / "launcher", progress=lambda seen: _show(bar, seen, plan)
                )
            except GivenUp as error:
                found, given_up = rows(study, plan), error
        write_text(output / TABLE, _table(found, plan))
        trials = {"objectives": dict(plan.objectives), "trials": [row.as_dict() for row in found]}
        write_text(output / TRIALS, json.dumps(trials, indent=1))
        top = best(found, plan)
        write_report(output / REPORT, study, plan, found, title=cfg.name, experiment=cfg.experiment)
        tracked.log_file(output / REPORT)
        tracked.log_table([_flat(row, plan) for row in found], "tables/trials.json")
        if top is not None:
            tracked.log_metrics(dict(zip(plan.objectives, top.values, strict=True)), top.number)
    print(_summary(found, plan))
    print(f"report: {output / REPORT}\ntable: {output / TABLE}")
    if given_up is not None:
        raise given_up
    failed = [row for row in found if row.state == "failed"]
    for row in failed[:5]:
        print(f"srlab sweep: trial {row.number} failed: {shorten(row.error, 300)}", file=sys.stderr)
    if top is None:
        print("srlab sweep: no trial was completed: there is no winner", file=sys.stderr)
        return 1
    name = f"{cfg.experiment}_{str(cfg.name).replace('/', '_').removeprefix(f'{cfg.experiment}_')}"
    comment = _comment(cfg, plan, top, found, holdouts)
    overrides = [*cfg.needs, *cfg.train, *plan.overrides(top.params)]
    overrides.append(f"selected_on={words(sorted({*selected, *config.selected_on}))}")
    file = write_winner(Path(cfg.winner), name, winner_text(cfg.experiment, name, overrides, comment=comment))
    print(f"winner: trial {top.number}, {_values(top, plan)}: {file}")
    return 0


def config_of(config: DictConfig) -> dict[str, Any]:
    """What makes two trials comparable: the training's configuration without what may change."""
    may_change = {"name", "output", "fresh", "resume", "preflight", "tracking", "pictures", "trainer", "tags"}
    return {key: value for key, value in plain(config).items() if key not in may_change}


def _check(cfg: DictConfig, fixed: Sequence[str], config: DictConfig, space: dict[str, Parameter]) -> list[Path]:
    """Composes what the trials will compose, and gives the images that they select on.

    Raises:
        ConfigError: if a parameter's key or a value of a choice does not exist, or an objective is not measured.
    """
    measured = [f"val/{build(node).key}" for node in config.metrics.values()]
    measured += COSTS if any("NetworkCost" in str(node.get("_target_")) for node in config.callbacks.values()) else ()
    for key in cfg.objectives:
        if key not in measured:
            remedy = "; callbacks=[cost] in train=[...] measures it" if key in COSTS else ""
            raise ConfigError(f"objectives: {key} is not measured: there are {', '.join(measured)}{remedy}")
    images = selection_images(config)
    for label, parameter in space.items():
        values = parameter.values if isinstance(parameter, Choice) else [getattr(parameter, "low")]  # noqa: B009
        for value in values:
            try:
                composed = compose("train", [*fixed, parameter.override(value)])
            except ConfigError as error:
                raise ConfigError(f"space.{label}, value {value}: {error}") from error
            if parameter.key.split(".")[0].split("/")[0] == "data":
                images += selection_images(composed)
    return list(dict.fromkeys(images))


def _plan(cfg: DictConfig, output: Path, space: dict[str, Parameter], train: Sequence[str]) -> Plan:
    pruner = plain(cfg.pruner)
    return Plan(
        name=cfg.name,
        storage=cfg.storage or f"sqlite:///{output / 'study.db'}",
        folder=output / FOLDER,
        directory=Path.cwd(),
        command=(sys.executable, "-m", "sr_lab.cli", "train"),
        train=(*train, "trainer.enable_progress_bar=false"),
        space=space,
        objectives=plain(cfg.objectives),
        sampler=build(cfg.sampler),
        pruner=build(cfg.pruner),
        pruner_config=None if pruner["_target_"] == _NO_PRUNER else pruner,
        seed=cfg.seed,
        max_retries=cfg.max_retries,
        heartbeat=cfg.heartbeat,
        grace=cfg.grace,
        give_up=cfg.give_up,
    )


def _tracking(node: DictConfig, parent: str | None) -> list[str]:
    """The words that record a trial where its sweep is recorded, as its child."""
    if parent is None:
        return ["tracking=none"]
    settings = [f"tracking.{key}={value}" for key, value in plain(node).items() if key != "_target_"]
    return ["tracking=mlflow", *settings, f"+tags.srlab.parent={parent}"]


def _show(bar: "tqdm[Any]", rows: Sequence[Row], plan: Plan) -> None:
    bar.total = len(rows)
    bar.n = sum(row.ended for row in rows)
    if (top := best(rows, plan)) is not None:
        bar.set_postfix_str(f"best: trial {top.number}, {_values(top, plan)}", refresh=False)
    bar.refresh()


def _values(row: Row, plan: Plan) -> str:
    return ", ".join(f"{key} {value:.5g}" for key, value in zip(plan.objectives, row.values, strict=False))


def _flat(row: Row, plan: Plan) -> dict[str, Any]:
    values = dict(zip(plan.objectives, row.values, strict=False))
    known = {"trial": row.number, "state": row.state, **row.params, **values, "seconds": row.seconds}
    return {**known, "steps": row.steps, "attempts": row.attempts, "error": row.error}


def _table(rows: Sequence[Row], plan: Plan) -> str:
    flat = [_flat(row, plan) for row in rows]
    text = io.StringIO()
    columns = ["trial", "state", *plan.space, *plan.objectives, "seconds", "steps", "attempts", "error"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _summary(rows: Sequence[Row], plan: Plan) -> str:
    states = [row.state for row in rows]
    counts = ", ".join(
        f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed") if state in states
    )
    lines = [f"{len(rows)} trials: {counts}; {sum(row.seconds for row in rows):.0f} trial seconds"]
    if len(plan.objectives) > 1:
        lines += [f"front: trial {row.number}, {_values(row, plan)}, {dict(row.params)}" for row in front(rows, plan)]
    return "\n".join(lines)


def _comment(cfg: DictConfig, plan: Plan, top: Row, rows: Sequence[Row], holdouts: dict[str, str]) -> list[str]:
    return [
        f"The best of {len(rows)} trials of the sweep {cfg.name} (trial {top.number}): {_values(top, plan)}.",
        "That number was selected on, so it flatters: measure the winner on images that the sweep has not seen.",
        *(f"Hold-out of policy {label}: {text}." for label, text in holdouts.items()),
    ]
