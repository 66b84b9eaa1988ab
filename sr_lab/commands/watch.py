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
from sr_lab.config.compose import build
from sr_lab.config.words import setting
from sr_lab.workflows import loop
from sr_lab.workflows.profile import reference_of
from sr_lab.workflows.register import register
from sr_lab.workflows.retrain import Artefact, Material, Retraining, retrain
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
    name, uri, output = str(cfg.name), str(cfg.tracking_uri), Path(cfg.output)

    def one() -> loop.Pass:
        return loop.once(lambda: step(cfg), name=name, tracking_uri=uri, output=output)

    with loop.alone(name, output):
        if cfg.once:
            found = one()
            tell(found)
            return found
        return loop.watch_on(
            one,
            name=name,
            output=output,
            poll_seconds=cfg.poll_seconds,
            max_hours=cfg.max_hours,
            news=tell,
        )


def tell(found: loop.Pass) -> None:
    """Prints where things stand."""
    print(
        "\n".join([f"{found.time}  {found.name}: {found.outcome}", *(f"  {line}" for line in found.said)]), flush=True
    )


def step(cfg: DictConfig) -> Retraining:
    """One pass: whatever of the loop can be done now."""
    name, uri = str(cfg.name), str(cfg.tracking_uri)
    cfg = cfg.copy()

    def look(champion: Artefact, report: Path) -> DriftResult:
        loop.require_images(Path(cfg.current))
        asked = cfg.copy()
        if not any(words.partition("=")[0] == "stream" for words in cfg.drift):
            asked.drift = [setting("state", Path(cfg.output) / "checks.json"), *cfg.drift]
        if cfg.reference is None:
            asked.reference = str(reference_of(name, tracking_uri=uri, to=report.parent / "reference.parquet"))
        return retraining.look(asked, champion, report)

    def rollout(material: Material, version: int) -> loop.Rolled:
        return loop.rolled_out(
            version,
            name=name,
            policy=build(cfg.rollout),
            pairs=Path(cfg.pairs),
            tracking_uri=uri,
            report=material.folder / "rollout",
            hook=None if cfg.events is None else build(cfg.events),
        )

    return retrain(
        name=name,
        tracking_uri=uri,
        output=Path(cfg.output),
        reference=None if cfg.reference is None else Path(cfg.reference),
        prepare=lambda champion: retraining.cost_of(cfg, champion),
        look=look,
        train=lambda material: retraining.fine_tune(cfg, material),
        register=lambda material: loop.registered(
            material,
            name=name,
            tracking_uri=uri,
            register=lambda folder: register(run=str(folder), name=name, default_uri=uri),
        ),
        release=lambda material, version: retraining.judge(cfg, material, version, hold=True),
        policy=build(cfg.retraining),
        rollout=rollout,
        num_trials=cfg.num_trials,
        fresh=cfg.fresh,
        news=lambda text: print(text, flush=True),
    )
