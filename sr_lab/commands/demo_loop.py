"""The loop closes by itself: a service's images become noisy JPEG, and it ends with a better model; in minutes.

    srlab demo_loop

A small EDSR is trained on clean photos, becomes champion, and answers clients behind srlab serve; srlab watch runs
beside it. Act one: the clients' images become noisy JPEG. Drift is seen in what the service keeps of its requests, the
champion is fine-tuned on the estimated degradation, the gate judges the candidate under old and new conditions, it
answers beside the champion on live requests (shadow, then a share of the clients), is promoted, and the service swaps.
Act two: the images change again, and the retraining goes wrong: its originals were exchanged for blurred ones. It is
stopped, and the clients get the same bytes as before. Every request is counted. RUN/loop.html tells the whole story.
Eight unseen photos are few, and the gate counts them as eight scenes. Exit code 1 if anything ends otherwise.
"""

import functools
import time
from pathlib import Path

from omegaconf import DictConfig

from sr_lab.commands._steps import folder_of, step
from sr_lab.commands.demo_drift import GATE
from sr_lab.config.words import counted, setting
from sr_lab.serving.loop_demo import Condition, Performance, perform, write_facts
from sr_lab.serving.loop_page import write_page
from sr_lab.workflows.drifting import blurred_photos, make_holdout, make_reference

NAME = "photos"


def run(cfg: DictConfig) -> int:
    """Makes a champion, performs both acts, and tells the story."""
    start = time.perf_counter()
    output = folder_of(cfg, "demo-loop")
    done = _performed(cfg, output)
    page = write_page(done, output / "loop.html")
    write_facts(done, output / "loop.json")
    requests = f"{counted(len(done.answers), 'request')}, {done.num_lost} lost"
    print(f"\n== done in {time.perf_counter() - start:.0f} s; {requests}")
    for act in done.acts:
        print(f"{act.title}: {act.outcome}")
    print(f"page: {page}")
    if not done.closed:
        print("NOT AS EXPECTED")
    return 0 if done.closed else 1


def _performed(cfg: DictConfig, output: Path) -> Performance:
    """Makes a champion and performs both acts with it."""
    store = f"sqlite:///{output.resolve() / 'mlflow.db'}"
    conditions = [
        Condition(noise=noise, quality=None if quality >= 100 else int(quality))
        for noise, quality in zip(cfg.noises, cfg.qualities, strict=True)
    ]
    if len(conditions) != 3:
        raise ValueError(f"noises={list(cfg.noises)}: three are needed: before, in act one, in act two")
    _do("prepare", "data=photos")
    holdout, before = output / "holdout", output / "before"
    make_holdout(holdout)
    make_reference(before, conditions[0], num=cfg.num_reference)
    blurred = blurred_photos(output / "blurred")
    _make_champion(cfg, output, store=store, holdout=holdout, before=before)
    return perform(
        name=NAME, output=output, tracking_uri=store, holdout=holdout, conditions=conditions, rate=cfg.rate,
        serve=[*cfg.serve, f"incoming.window={cfg.window}"], watch=_watch(cfg, blurred),
        news=functools.partial(print, flush=True),
    )  # fmt: skip


def _make_champion(cfg: DictConfig, output: Path, *, store: str, holdout: Path, before: Path) -> None:
    champion = output / "champion"
    uri = setting("tracking_uri", store)
    _do(
        "train",
        *(setting("experiment", cfg.experiment), setting("name", output.name), setting("output", champion)),
        *(f"max_steps={cfg.steps}", f"val_every={cfg.steps // 2}", f"checkpoint_every={cfg.steps // 4}"),
        *(setting("tracking.uri", store), "tracking.drain_seconds=120", *cfg.train),
    )
    _do("register", setting("run", champion), f"name={NAME}")
    where = [setting("policy.holdout.photos.benchmark", holdout), uri, setting("report", output / "first")]
    floors = ["policy.checks.psnr_floor.value=18", "policy.checks.psnr_worst.value=12"]
    floors += ["policy.first_champion=passes_floors"]
    _do("promote", f"name={NAME}", "policy=default", *floors, *where)
    _do("profile", setting("input", before), setting("output", output / "reference.parquet"), f"name={NAME}", uri)


def _watch(cfg: DictConfig, blurred: Path) -> list[list[str]]:
    """The settings of srlab watch: of act one, of act two, and of the pass at the end."""
    good = ["trainer.enable_progress_bar=false", "tracking.drain_seconds=120", *cfg.train]
    wrong = [*good, "data=folder", setting("data.train.roots", blurred), "data.val.roots=data/photos/val"]
    wrong += ["data.repeats=64"]
    common = [setting("experiment", cfg.experiment), f"steps={cfg.retrain_steps}", "lr_factor=1", *GATE, *cfg.rollout]
    return [
        [*common, setting("train", good)],
        [*common, setting("train", wrong), "retraining.cooldown_hours=0"],
        [*common, setting("train", good)],
    ]


def _do(command: str, *settings: str) -> None:
    if code := step(command, *settings):
        raise RuntimeError(f"srlab {command} ended with {code}")
