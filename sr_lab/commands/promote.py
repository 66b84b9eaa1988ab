"""Let the gate decide whether a candidate becomes champion, and make it champion if so.

    srlab promote name=NAME policy=default policy.holdout.photos.benchmark=DIR
    srlab promote name=NAME policy=strict_medical policy.holdout.scans.benchmark=DIR   # then srlab approve

Candidate and champion are measured on the policy's hold-out, the same images for both; the gate decides and says why,
line by line. The decision, whatever it is, becomes an audit record (srlab history); its numbers and an HTML page with
the images on which the candidate lost most are kept with the candidate's run. The first champion has to pass the floors
and to beat bicubic (policy.first_champion). What counts as one scene: the folder's scenes.csv (columns name, scene),
else the subfolder, else each image by itself. A decision that waits for srlab approve is not measured again: its
numbers, with the consent, are judged once more, as long as champion and policy are the same (fresh=true measures anew).

Exit codes: 0 promoted, 3 rejected, 4 approval needed, 5 promoted but the hook failed, others error.
"""

from typing import Any

from omegaconf import DictConfig

from sr_lab.base.errors import ConfigError
from sr_lab.config.call import called
from sr_lab.config.compose import build, compose
from sr_lab.config.words import setting
from sr_lab.workflows.load import fetch_artefact
from sr_lab.workflows.release import Release, contenders, fire, how_to_agree, how_to_look, one_scale, release


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    hook, name, uri = build(cfg.events), cfg.name, cfg.tracking_uri
    done = call(cfg)
    print("\n".join([*done.notes, done.decision.text]))
    print(f"page: {done.page}\nrecord {done.record.number}: {how_to_look(uri, name)}", flush=True)
    if done.decision.outcome == "needs_approval":
        print(how_to_agree(uri, name, done.record.target), flush=True)
    if done.decision.outcome == "promote":
        print(f"{name} version {done.record.target} is models:/{name}@champion", flush=True)
        return fire(hook, done.record, name=name, uri=uri)
    return done.decision.exit_code


def call(cfg: DictConfig, *, hold: bool = False) -> Release:
    """The release that ``cfg`` asks for: measured, decided, carried out; with ``hold`` not promoted yet."""
    cfg = cfg.copy()
    who = called(contenders, cfg, uri=cfg.tracking_uri)
    models = {name: fetch_artefact(place, tracking_uri=who.uri) for name, place in who.labels.items()}
    cfg.scale = one_scale(models)
    return called(release, cfg, who=who, models=models, original=_original(cfg), num_runs=cfg.runs, hold=hold)


def _original(cfg: DictConfig) -> Any:
    """The policy as the file of its name has it; None where there is no such file."""
    try:
        node = compose("promote", [setting("policy", cfg.policy.name), "name=any"]).policy
    except ConfigError:
        return None
    node.holdout = {}
    return build(node)
