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
is paused; 143 and 130 after SIGTERM and Ctrl-C (the same command goes on); others error.
"""

import functools
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sr_lab.base.files import write_text
from sr_lab.commands import drift, promote, train
from sr_lab.config.call import called
from sr_lab.config.compose import build, compose, plain, to_yaml
from sr_lab.config.targets import locate
from sr_lab.config.words import setting
from sr_lab.workflows.load import choose_device, fetch_artefact
from sr_lab.workflows.register import register
from sr_lab.workflows.release import how_to_agree
from sr_lab.workflows.retrain import Artefact, Busy, Cost, Material, Released, Retraining, fire, require_usable, retrain
from sr_lab.workflows.watch import DriftResult

BUSY, REJECTED, PROPOSED, NOT_ALLOWED = 75, 3, 4, 6
CODES = {"quiet": 0, "promoted": 0, "rejected": REJECTED, "proposed": PROPOSED, "not allowed": NOT_ALLOWED}
CODES |= {"paused": BUSY}


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    hook = build(promotion_of(cfg).events)
    try:
        done = call(cfg)
    except Busy as busy:
        print(f"srlab retrain: {busy}")
        return BUSY
    if done.outcome == "quiet":
        print("nothing is trained")
    elif done.outcome == "not allowed":
        print("nothing is trained: drift, but retraining is not allowed", file=sys.stderr)
    elif done.outcome == "paused":
        print(done.paused)
    else:
        print("promoted before the interruption" if done.released is None else done.released.decision.text)
        if done.outcome == "proposed":
            print(how_to_agree(cfg.tracking_uri, cfg.name, done.version), flush=True)
        print(f"{done.outcome}: {cfg.name} version {done.version}\nreport: {done.page}", flush=True)
        if done.outcome == "promoted" and done.released is not None:
            return fire(hook, done.released.record, name=cfg.name, uri=cfg.tracking_uri)
    return CODES[done.outcome]


def call(cfg: DictConfig) -> Retraining:
    """Looks for drift and retrains as ``cfg`` says."""
    if not 0 < cfg.share_new < 1:
        raise ValueError(f"share_new={cfg.share_new}: must lie between 0 and 1, so that the old is not forgotten")
    return retrained(
        cfg,
        look=functools.partial(look, cfg),
        register=lambda material: register(run=str(material.run), name=cfg.name, default_uri=cfg.tracking_uri),
        release=functools.partial(judge, cfg),
    )


def retrained(cfg: DictConfig, **how: Any) -> Retraining:
    """Looks for drift and retrains; what ``srlab watch`` does in another way is given."""
    return called(
        retrain,
        cfg,
        prepare=functools.partial(cost_of, cfg),
        train=functools.partial(fine_tune, cfg),
        policy=build(cfg.retraining),
        news=functools.partial(print, flush=True),
        **how,
    )


def cost_of(cfg: DictConfig, champion: Artefact) -> Cost:
    """What the fine-tuning takes, once nothing stands in the way of it and of the gate: a mistake shows at once.

    Raises:
        ValueError: if the experiment does not fit the champion, or the hold-out cannot decide.
    """
    recipe = compose("train", [setting("experiment", cfg.experiment), *cfg.train])
    promotion_of(cfg)
    if recipe.scale != champion.scale:
        raise ValueError(f"experiment={cfg.experiment} is for scale {recipe.scale}, the champion for {champion.scale}")
    for part in ("train", "val"):
        if getattr(locate(recipe.data[part]["_target_"]), "paired", False):
            remedy = setting("train", ["data=t91_bsds400_blind"])
            raise ValueError(
                f"experiment={cfg.experiment}: data.{part} brings its own low images, which the new degradation would "
                f'not reach: give data with originals only, as "{remedy}"'
            )
    require_usable(Path(cfg.holdout), champion=champion, policy=build(cfg.policy))
    device = choose_device("auto" if recipe.trainer.accelerator in ("auto", "gpu") else "cpu")
    return Cost(steps=cfg.steps, crop=recipe.data.crop, batch_size=recipe.data.batch_size, device=device)


def promotion_of(cfg: DictConfig) -> DictConfig:
    """The configuration of ``srlab promote`` that the gate is asked by."""
    return compose("promote", [setting("name", cfg.name), setting("tracking_uri", cfg.tracking_uri), *cfg.promote])


def look(cfg: DictConfig, champion: Artefact, report: Path) -> DriftResult:
    """Looks for drift, tells what was found, and writes the report."""
    settings = [setting("reference", cfg.reference), setting("current", cfg.current), setting("report", report)]
    asked = compose("drift", [*settings, setting("scale", champion.scale), *cfg.drift])
    found = drift.call(asked)
    drift.tell(found)
    return found


def fine_tune(cfg: DictConfig, material: Material) -> str | None:
    """Fine-tunes; where it was paused, in words."""
    return train.call(recipe_of(cfg, material)).paused


def recipe_of(cfg: DictConfig, material: Material) -> DictConfig:
    """The configuration of the fine-tuning: the experiment's, from the champion, on both degradations."""
    old, new = conditions_of(material)
    settings = [
        setting("experiment", cfg.experiment),
        setting("name", f"{cfg.name}-retrain-{material.folder.name}"),
        setting("output", material.run),
        setting("initial", material.champion),
        "tracking=mlflow",
        setting("tracking.uri", cfg.tracking_uri),
        setting("max_steps", cfg.steps),
        setting("val_every", _divisor(cfg.steps)),
        setting("checkpoint_every", _divisor(cfg.steps)),
    ]
    recipe = compose("train", [*settings, *cfg.train])
    mixed = plain(cfg.mixture)
    mixed["ops"]["mixture"] |= {
        "weights": {"old": 1 - cfg.share_new, "new": cfg.share_new},
        "ops": {"old": old, "new": new},
    }
    recipe.degradation = mixed
    recipe.optimizer.lr = recipe.optimizer.lr * cfg.lr_factor
    write_text(material.folder / "train.yaml", to_yaml(recipe))
    return recipe


def judge(cfg: DictConfig, material: Material, version: int, *, hold: bool = False) -> Released:
    """Measures candidate and champion under the old and the new conditions, and carries out the gate's decision.

    With ``hold`` a decision to promote is only written down, for a rollout.
    """
    settings = [setting("name", cfg.name), setting("version", version), setting("report", material.gate)]
    settings += [setting("tracking_uri", cfg.tracking_uri), "metrics=[psnr,ssim]"]
    asked = compose("promote", [*settings, *cfg.promote])
    asked.policy = OmegaConf.create(plain(cfg.policy))
    conditions = zip(("old", "new"), conditions_of(material), strict=True)
    asked.policy.holdout = {key: {**plain(cfg.part), "degradation": degradation} for key, degradation in conditions}
    return promote.call(asked, hold=hold)


def conditions_of(material: Material) -> tuple[dict[str, Any], dict[str, Any]]:
    """The degradation that the champion was trained for, and the new one."""
    old: dict[str, Any] = fetch_artefact(str(material.champion)).config["degradation"]
    preset = OmegaConf.load(material.preset)
    assert isinstance(preset, DictConfig)
    return old, plain(preset)


def _divisor(steps: int) -> int:
    """Steps between validations: a tenth or so, dividing all of them."""
    return next(size for size in range(max(steps // 10, 1), steps + 1) if steps % size == 0)
