"""The loop by itself: a service's images drift -> retraining -> gate -> rollout on live requests -> champion.

    srlab serve name=NAME incoming=default pairs=runs/rollout/NAME/pairs.db      # keeps features of what comes in
    srlab watch name=NAME experiment=E holdout=DIR                               # as a daemon
    srlab watch name=NAME experiment=E holdout=DIR once=true                     # as a step of CI or cron

Reads what the service keeps of sampled requests (features, no pixels), compares each window with the reference that is
kept with the champion, and answers drift as srlab retrain does, with cool-down and cost: fine-tuning on the estimated
degradation, a candidate whose reference are the new images, the gate under old and new conditions. What passes is not
champion yet: it answers beside the champion on the service's requests, as srlab rollout has it, and is promoted or
taken back. The service follows the registry by itself. OUTPUT holds the logbook, a folder for each retraining, and
watch.json, the last pass as JSON (with once=true also the last line of the output).

Every stage goes on where it was killed: call the same command again. One watcher a model and folder: a second one says
who watches, and leaves.

Exit codes: 0 nothing to do, or promoted; 3 rejected by the gate, or stopped or taken back by the rollout; 4 a person
has to decide (srlab approve, or a paused rollout); 5 promoted but the hook failed; 6 drift, but not allowed to retrain
(cool-down, cost, nothing to train on); 75 under way (training or rollout: call again), or another one watches; 130 and
143 ended by a signal; others error.
"""

import json
from pathlib import Path

from omegaconf import DictConfig

from sr_lab.commands import retrain as retraining
from sr_lab.config.call import called
from sr_lab.config.compose import build
from sr_lab.config.words import setting
from sr_lab.workflows import loop
from sr_lab.workflows.profile import reference_of
from sr_lab.workflows.register import register
from sr_lab.workflows.retrain import Artefact, Material, Retraining
from sr_lab.workflows.watch import DriftResult


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    try:
        found = call(cfg)
    except loop.Busy as busy:
        print(f"srlab watch: {busy}")
        return loop.CODES["rolling"]
    if cfg.once:
        print(json.dumps(found.as_dict()), flush=True)
    return found.exit_code


def call(cfg: DictConfig) -> loop.Pass:
    """Makes one pass of the loop, or goes on until it is asked to end."""

    def one() -> loop.Pass:
        return called(loop.once, cfg, step=lambda: step(cfg))

    with called(loop.alone, cfg):
        if not cfg.once:
            return called(loop.watch_on, cfg, one=one, news=tell)
        found = one()
        tell(found)
        return found


def tell(found: loop.Pass) -> None:
    """Prints where things stand."""
    print(found.text, flush=True)


def step(cfg: DictConfig) -> Retraining:
    """One pass: whatever of the loop can be done now."""
    where = {"name": cfg.name, "tracking_uri": cfg.tracking_uri}

    def look(champion: Artefact, report: Path) -> DriftResult:
        loop.require_images(Path(cfg.current))
        asked = cfg.copy()
        if not any(words.partition("=")[0] == "stream" for words in cfg.drift):
            asked.drift = [setting("state", Path(cfg.output) / "checks.json"), *cfg.drift]
        if cfg.reference is None:
            asked.reference = str(reference_of(**where, to=report.parent / "reference.parquet"))
        return retraining.look(asked, champion, report)

    def registered(material: Material) -> None:
        loop.registered(
            material, **where, register=lambda run: register(run=str(run), name=cfg.name, default_uri=cfg.tracking_uri)
        )

    def rollout(material: Material, version: int) -> loop.Rolled:
        report, hook = material.folder / "rollout", build(cfg.events)
        return loop.rolled_out(
            version, **where, policy=build(cfg.rollout), pairs=Path(cfg.pairs), report=report, hook=hook
        )

    return retraining.retrained(
        cfg,
        look=look,
        register=registered,
        release=lambda material, version: retraining.judge(cfg, material, version, hold=True),
        rollout=rollout,
    )
