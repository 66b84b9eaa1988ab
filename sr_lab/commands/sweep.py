"""Search settings of an experiment: trials are pulled from a shared queue and trained side by side.

    srlab sweep experiment=edsr_tiny_x2_photos sweep=learning_rate
    srlab sweep experiment=E sweep=quality_latency launcher=slurm storage=postgresql://...
    srlab sweep experiment=E num_trials=8 '+space.lr={_target_: sr_lab.sweeps.space.Float, key: optimizer.lr, low: 1e-4,
        high: 1e-2, log: true}' '+objectives={val/psnr_y: maximize}'

Each trial is `srlab train` in OUTPUT/trials/NUMBER. The same command again goes on where a sweep was killed, or stopped
by Ctrl-C or SIGTERM: no finished trial is lost or repeated, one that ran goes on from its checkpoint, one that fails is
kept with its error, settings that were drawn before are not trained again. Where the first trials all fail, the others
are not begun (give_up). Writes OUTPUT/report.html, OUTPUT/trials.csv and .json, and the winner as an experiment file. A
parameter whose key is a seed is a replicate: settings are compared by their mean over it, and a sweep over seeds alone
has no winner. Exit code 0 only if every trial of the budget has ended and one was complete. Refused are a sweep whose
validation images show a picture of a promotion policy's hold-out, and one of a name that was begun from another folder.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from sr_lab.base.errors import ConfigError
from sr_lab.base.files import write_text
from sr_lab.commands._telling import complain
from sr_lab.config.call import built, called
from sr_lab.config.compose import build, compose, plain
from sr_lab.config.experiment import winner_text, write_winner
from sr_lab.config.tree import find_option, nearest, options
from sr_lab.config.words import counted, setting
from sr_lab.workflows.search import (
    Choice,
    GivenUp,
    Parameter,
    Plan,
    Row,
    SearchResult,
    Setting,
    best,
    digests,
    require_measured,
    search,
    selection_images,
    unseen,
)
from sr_lab.workflows.train import comparable

SELECTION = "selection.json"


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    try:
        result = call(cfg)
    except GivenUp as error:
        print("\n".join(error.result.lines))
        raise
    print("\n".join(result.lines))
    complain("sweep", (f"trial {row.number} failed: {shorten(row.error, 300)}" for row in result.failed[:5]))
    if not result.complete:
        complain("sweep", ["no trial was completed: there is no winner"])
        return 1
    if result.best is not None:
        print(f"winner: {result.best.title}, {result.best.text(result.plan)}: {result.winner}")
    for alone in result.settings if result.best is None else ():
        print(f"{alone.title}: {alone.text(result.plan)}; nothing but seeds differs, so there is no winner")
    return 0


def call(cfg: DictConfig) -> SearchResult:
    """Searches as ``cfg`` says."""
    output = Path(cfg.output).resolve()
    output.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(output / ".lock", timeout=0):
            return _search(cfg, output)
    except Timeout as error:
        raise ValueError(f"output={cfg.output} is in use by another sweep: wait for it, or give name=...") from error


def _search(cfg: DictConfig, output: Path) -> SearchResult:
    fixed = [setting("experiment", cfg.experiment), *cfg.needs, *cfg.train]
    space: dict[str, Parameter] = built(cfg.space)
    if wrong := [label for label, parameter in space.items() if not isinstance(parameter, Parameter)]:
        raise ConfigError(
            f"space.{wrong[0]} is no parameter: _target_ is sr_lab.sweeps.space.Float, .Integer or .Choice"
        )
    config = compose("train", fixed)
    metrics, callbacks = (built(config[group]).values() for group in ("metrics", "callbacks"))
    require_measured(list(cfg.objectives), metrics=metrics, callbacks=callbacks)
    images = _images(fixed, config, space)
    holdouts = unseen(_holdouts(list(cfg.policies)), images)
    selected = digests(images)
    write_text(output / SELECTION, json.dumps({"sha256": selected, "holdouts": holdouts}, indent=1))
    for label, text in holdouts.items():
        print(f"hold-out of policy {label}: {text}")
    plan = _plan(cfg, output, space, fixed)

    def keep(top: Setting, found: Sequence[Row]) -> Path:
        name = f"{cfg.experiment}_{cfg.name.replace('/', '_').removeprefix(f'{cfg.experiment}_')}"
        overrides = [*cfg.needs, *cfg.train, *plan.overrides(top.params)]
        overrides.append(setting("selected_on", sorted({*selected, *config.selected_on})))
        comment = [
            f"The best of {counted(len(found), 'trial')} of the sweep {cfg.name} ({top.title}): {top.text(plan)}.",
            "That number was selected on, so it flatters: measure the winner on images that the sweep has not seen.",
            *(f"Hold-out of policy {label}: {text}." for label, text in holdouts.items()),
        ]
        return write_winner(Path(cfg.winner), name, winner_text(cfg.experiment, name, overrides, comment=comment))

    with tqdm(desc=cfg.name, unit="trial", total=0, disable=None) as bar:
        return called(
            search,
            cfg,
            plan=plan,
            output=output,
            comparable={
                "training": comparable(plain(config)),
                "space": plain(cfg.space),
                "objectives": plain(cfg.objectives),
            },
            run=build(cfg.tracking, name=cfg.name, directory=output / "tracking", tags={"kind": "sweep"}),
            below=lambda parent: _tracking(cfg.tracking, parent),
            config=plain(cfg),
            keep=keep,
            progress=lambda found: _show(bar, found, plan),
        )


def _images(fixed: Sequence[str], config: DictConfig, space: dict[str, Parameter]) -> list[Path]:
    """Composes what the trials will compose, and gives the images that they select on.

    Raises:
        ConfigError: if a parameter's key or a value of a choice does not exist.
    """
    images = selection_images(build(config.data))
    for label, parameter in space.items():
        values = parameter.values if isinstance(parameter, Choice) else [getattr(parameter, "low")]  # noqa: B009
        for value in values:
            try:
                composed = compose("train", [*fixed, parameter.override(value)])
            except ConfigError as error:
                raise ConfigError(f"space.{label}, value {value}: {error}") from error
            if composed.data != config.data:
                images += selection_images(build(composed.data))
    return list(dict.fromkeys(images))


def _holdouts(policies: Sequence[str]) -> dict[str, Path]:
    """The folders of the policies' hold-outs that have one, by policy and part."""
    folders = {}
    for policy in policies:
        file = find_option("policy", policy)
        if file is None:
            raise ConfigError(f"policies: no policy {policy!r} in conf/policy.{nearest(policy, options('policy'))}")
        parts: Any = OmegaConf.load(file).get("holdout", {})
        for name in parts:
            if not OmegaConf.is_missing(parts[name], "benchmark"):
                folders[f"{policy}.{name}"] = Path(parts[name].benchmark)
    return folders


def _plan(cfg: DictConfig, output: Path, space: dict[str, Parameter], train: Sequence[str]) -> Plan:
    early_end = plain(cfg.early_end)
    early_end["monitor"] = next(iter(cfg.objectives), None)
    early_end["judge"]["pruner"] = plain(cfg.pruner)
    return called(
        Plan,
        cfg,
        storage=cfg.storage or f"sqlite:///{output / 'study.db'}",
        folder=output / "trials",
        directory=Path.cwd(),
        command=(sys.executable, "-m", "sr_lab.cli", "train"),
        train=(*train, "trainer.enable_progress_bar=false"),
        space=space,
        early_end=early_end,
    )


def _tracking(node: DictConfig, parent: str | None) -> list[str]:
    """The settings that record a trial where its sweep is recorded, as its child."""
    if parent is None:
        return ["tracking=none"]
    settings = [setting(f"tracking.{key}", value) for key, value in plain(node).items() if key != "_target_"]
    options = [*(["mlflow"] if node.get("uri") is not None else []), *node.get("trackers", {})]
    return [setting("tracking", options), *settings, setting("+tags.srlab.parent", parent)]


def _show(bar: "tqdm[Any]", found: Sequence[Row], plan: Plan) -> None:
    bar.total = len(found)
    bar.n = sum(row.ended for row in found)
    if (top := best(found, plan)) is not None:
        bar.set_postfix_str(f"best: {top.title}, {top.text(plan)}", refresh=False)
    bar.refresh()
