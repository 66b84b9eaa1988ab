"""On drift, fine-tune the champion on a degradation that imitates the new images, and let the gate decide.

    srlab retrain name=NAME experiment=E reference=PROFILE current=DIR holdout=DIR
    srlab retrain ... policy.approval=true      # only propose: srlab approve decides, then the same command again

What would end it after the training (hold-out, data with low images of their own, misspelt settings) is refused first.
srlab drift looks; without drift nothing is trained. Else retraining=... has to agree (a change that a preset imitates,
cool-down, cost). The training starts from the champion, on a mixture of its own degradation and the new one; candidate
and champion are measured on the same unseen originals under both, and policy=retrain wants a gain under the new and no
loss under the old. Promoted: the reference becomes the profile of the new images (the former one is kept beside it).
Whatever fails, champion and reference stay. OUTPUT/DAY-NUMBER holds drift, training, gate and retrain.html.
The same command goes on where an interrupted one stopped; two at once: the second waits wait_seconds, then leaves.

Exit codes: 0 nothing to do, or promoted; 3 rejected; 4 proposed, waits for srlab approve; 5 promoted but the hook
failed; 6 drift, but not allowed to retrain (cool-down, cost, nothing to train on); 75 another one is running, or it
is paused; others error.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from sr_lab.artefacts.artefact import load_artefact
from sr_lab.base.files import replacing, write_text
from sr_lab.commands import drift, promote, register, train
from sr_lab.commands._ready import checked_recipe
from sr_lab.commands._restorer import choose_device
from sr_lab.config.compose import build, compose, plain, to_yaml
from sr_lab.config.words import setting
from sr_lab.monitoring.logbook import Attempt, Logbook, utc_now
from sr_lab.monitoring.report import CURRENT, JSON, PRESET
from sr_lab.monitoring.retrain_page import Story, write_page
from sr_lab.promotion.retraining import Situation, should_retrain
from sr_lab.tracking.registry.aliases import CANDIDATE, CHAMPION, aliases
from sr_lab.tracking.registry.events import fire
from sr_lab.tracking.store import download
from sr_lab.training.timing import seconds_per_step
from sr_lab.workflows.release import how_to_agree

BUSY, NOT_ALLOWED = 75, 6
OVERHEAD = 1.4
"""Validation, data and start-up, over the bare optimizer steps."""

OUTCOMES = {"promote": "promoted", "reject": "rejected", "needs_approval": "proposed"}


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    if not 0 < cfg.share_new < 1:
        raise ValueError(f"share_new={cfg.share_new}: must lie between 0 and 1, so that the old is not forgotten")
    output = Path(cfg.output)
    output.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(output / ".lock", timeout=cfg.wait_seconds):
            return retrain(cfg, output)
    except Timeout:
        print(f"srlab retrain: another retraining of {cfg.name} is running in {output}: it was left alone")
        return BUSY


def retrain(cfg: DictConfig, output: Path) -> int:
    """Looks for drift, or goes on with the retraining that was interrupted."""
    book = Logbook.read(output / "logbook.json")
    if book.attempt is not None and cfg.fresh:
        book.end("given up", now=utc_now())
    if book.attempt is not None and book.attempt.tries >= cfg.num_trials:
        tries = book.attempt.tries
        book.end("failed", now=utc_now())
        raise RuntimeError(f"{output}: the retraining was begun {tries} times and never ended: it is given up")
    if book.attempt is None:
        code = look(cfg, output, book)
        if book.attempt is None:
            return code
    else:
        print(f"going on with {book.attempt.name}, stage {book.attempt.stage}")
    attempt = book.attempt
    attempt.tries += 1
    book.write()
    folder = output / attempt.name
    if attempt.stage == "training":
        code = train.run(training(cfg, folder))
        if code:
            attempt.tries -= 1  # a pause is no failure
            book.write()
            return code
        attempt.stage = "registering"
        book.write()
    if attempt.stage == "registering":
        settings = [setting("run", folder / "run"), setting("name", cfg.name)]
        settings += [setting("default_uri", cfg.tracking_uri)]
        register.run(compose("register", settings))
        attempt.version, attempt.stage = aliases(cfg.tracking_uri, cfg.name)[CANDIDATE], "gate"
        book.write()
    return decide(cfg, folder, book, attempt)


def look(cfg: DictConfig, output: Path, book: Logbook) -> int:
    """Looks for drift and opens a retraining if there is one that is allowed; the exit code if there is not."""
    version = aliases(cfg.tracking_uri, cfg.name).get(CHAMPION)
    if version is None:
        raise ValueError(f"{cfg.name} has no champion to start from: srlab promote name={cfg.name} first")
    latest = (output / "latest").resolve()
    shutil.rmtree(latest, ignore_errors=True)
    champion = download(f"models:/{cfg.name}/{version}", tracking_uri=cfg.tracking_uri, directory=latest / "champion")
    artefact = load_artefact(champion)
    network, recipe = artefact.network, checked_recipe(cfg, artefact)
    settings = [setting("reference", cfg.reference), setting("current", cfg.current)]
    settings += [setting("report", latest / "drift"), f"scale={network.scale}", "on_drift=10"]
    code = drift.run(compose("drift", [*settings, *cfg.drift]))
    if code == 0:
        print("nothing is trained")
        return 0
    found = json.loads((latest / "drift" / JSON).read_text(encoding="utf-8"))
    device = choose_device("auto" if recipe.trainer.accelerator in ("auto", "gpu") else "cpu")
    seconds = seconds_per_step(network, crop=recipe.data.crop, batch_size=recipe.data.batch_size, device=device)
    now = utc_now()
    verdict = should_retrain(
        Situation(
            alarm=True,
            trainable=any(change["trainable"] for change in found["changes"]) and found["preset"] is not None,
            hours_since_last=book.hours_since_last(now),
            minutes=seconds * cfg.steps * OVERHEAD / 60,
            device=device.type,
            spent=book.spent(now),
        ),
        build(cfg.retraining),
    )
    print("\n".join(verdict.reasons), flush=True)
    if not verdict.retrain:
        print("nothing is trained: drift, but retraining is not allowed", file=sys.stderr)
        write_page(Story(outcome="not allowed", reasons=verdict.reasons), latest)
        return NOT_ALLOWED
    (latest / "champion.json").write_text(json.dumps(str(champion.resolve().relative_to(latest))), encoding="utf-8")
    attempt = book.begin(champion=version, cost=verdict.cost, reasons=list(verdict.reasons), now=now)
    shutil.rmtree(output / attempt.name, ignore_errors=True)
    latest.rename(output / attempt.name)
    return 0


def training(cfg: DictConfig, folder: Path) -> DictConfig:
    """The configuration of the fine-tuning: the experiment's, from the champion, on both degradations."""
    champion, old, new = conditions(folder)
    mixed = {
        "_target_": "sr_lab.degradations.pipeline.Pipeline",
        "ops": {
            "mixture": {
                "_target_": "sr_lab.degradations.pipeline.Choice",
                "weights": {"old": 1 - cfg.share_new, "new": cfg.share_new},
                "ops": {"old": old, "new": new},
            }
        },
    }
    name = f"{cfg.name}-retrain-{folder.name}"
    settings = [f"experiment={cfg.experiment}", setting("name", name), setting("output", folder / "run")]
    settings += [setting("initial", champion), "tracking=mlflow", setting("tracking.uri", cfg.tracking_uri)]
    settings += [
        f"max_steps={cfg.steps}",
        f"val_every={_divisor(cfg.steps)}",
        f"checkpoint_every={_divisor(cfg.steps)}",
    ]
    recipe = compose("train", [*settings, *cfg.train])
    recipe.degradation = mixed
    recipe.optimizer.lr = recipe.optimizer.lr * cfg.lr_factor
    write_text(folder / "train.yaml", to_yaml(recipe))
    return recipe


def conditions(folder: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """The champion's artefact, the degradation that it was trained for, and the new one."""
    champion = folder / json.loads((folder / "champion.json").read_text(encoding="utf-8"))
    old: dict[str, Any] = load_artefact(champion).config["degradation"]
    preset = OmegaConf.load(folder / "drift" / PRESET)
    assert isinstance(preset, DictConfig)
    return champion, old, plain(preset)


def decide(cfg: DictConfig, folder: Path, book: Logbook, attempt: Attempt) -> int:
    """Measures candidate and champion under the old and the new conditions, and carries out the gate's decision."""
    _, old, new = conditions(folder)
    settings = [setting("name", cfg.name), f"version={attempt.version}", setting("report", folder / "gate")]
    settings += [setting("tracking_uri", cfg.tracking_uri), "metrics=[psnr,ssim]"]
    asked = compose("promote", [*settings, *cfg.promote])
    part = {"_target_": "sr_lab.promotion.policy.Holdout", "benchmark": str(cfg.holdout)}
    asked.policy = OmegaConf.create(plain(cfg.policy))
    asked.policy.holdout = {"old": {**part, "degradation": old}, "new": {**part, "degradation": new}}
    hook = None if asked.events is None else build(asked.events)
    if aliases(cfg.tracking_uri, cfg.name).get(CHAMPION) == attempt.version:  # killed between promotion and logbook
        outcome, text, code = "promoted", "promoted before the interruption", 0
        reasons: list[dict[str, Any]] = []
    else:
        done = promote.call(asked)
        outcome, text, code = OUTCOMES[done.decision.outcome], done.decision.text, done.decision.exit_code
        reasons = [reason.as_dict() for reason in done.decision.reasons]
    print(text)
    story = Story(outcome=outcome, reasons=tuple(attempt.reasons), checks=reasons, cost=attempt.cost)
    if outcome == "promoted":
        _renew(Path(cfg.reference), folder / "drift" / CURRENT, attempt)
    write_page(story, folder)
    if outcome == "proposed":
        attempt.tries = 0  # waiting is no failure
        book.write()
        print(how_to_agree(cfg.name, attempt.version), flush=True)
    else:
        book.end(outcome, now=utc_now())
    print(f"{outcome}: {cfg.name} version {attempt.version}\nreport: {folder / 'retrain.html'}", flush=True)
    if outcome == "promoted" and code == 0 and reasons:
        return fire(hook, done.record, name=str(cfg.name), uri=cfg.tracking_uri)
    return code


def _renew(reference: Path, current: Path, attempt: Attempt) -> None:
    """The new images become the reference; the former profile is kept beside it."""
    if not reference.with_suffix(f".before-{attempt.name}.parquet").exists():
        shutil.copyfile(reference, reference.with_suffix(f".before-{attempt.name}.parquet"))
    with replacing(reference) as partial:
        shutil.copyfile(current, partial)


def _divisor(steps: int) -> int:
    """Steps between validations: a tenth or so, dividing all of them."""
    return next(size for size in range(max(steps // 10, 1), steps + 1) if steps % size == 0)
