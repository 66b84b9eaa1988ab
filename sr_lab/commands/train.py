"""Train a network on crops of high-resolution images; go on where a stopped run was.

    srlab train experiment=edsr_tiny_x2_photos
    srlab train name=edsr data=t91_bsds400 scale=4 model/network=edsr_baseline max_steps=100000

Writes OUTPUT/checkpoints/last.ckpt (to go on from), OUTPUT/best (the artefact: weights, config, metadata),
OUTPUT/model (the same as an MLflow model) and, at the end, OUTPUT/result.json. The same command again continues a
run that was stopped, to the same weights as if it had not been, also where what changes no weight was changed (workers,
cache, validation interval, place of the data); on a finished run it does nothing, and longer=true trains it to more
max_steps. SIGTERM and Ctrl-C write a checkpoint first. Exit code 0 only if every step was done or an early-stopping
callback ended the run; 75 if max_seconds were over before; 143 after SIGTERM, 130 after Ctrl-C.
"""

import io
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from typing import Any

from omegaconf import DictConfig

from sr_lab.base.errors import ConfigError
from sr_lab.config.call import built, called
from sr_lab.config.compose import build, compose, plain
from sr_lab.config.words import line, setting
from sr_lab.workflows.train import PAUSED, Run, is_first_process, train
from sr_lab.workflows.weights import list_weights

LOG = logging.getLogger(__name__)


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    with nullcontext() if is_first_process() else redirect_stdout(io.StringIO()):
        done = call(cfg, news=lambda text: print(text, flush=True))
        if done.text:
            print(done.text)
        if done.result is not None and not done.was_finished:
            print(f"evaluate it: {_evaluation(cfg, done)}")
    return 0 if done.paused is None else PAUSED


def call(cfg: DictConfig, *, callbacks: Sequence[Any] = (), news: Callable[[str], object] = LOG.info) -> Run:
    """Trains as ``cfg`` says, with further callbacks; ``news`` is told what happens meanwhile."""
    return called(
        train,
        cfg,
        module=lambda: build(cfg.model),
        data=lambda: build(cfg.data),
        trainer=build(cfg.trainer, _partial_=True),
        tracking=build(cfg.tracking, _partial_=True),
        config=_used(cfg),
        protocol=build(cfg.protocol).name,
        callbacks=[*built(cfg.callbacks).values(), *callbacks],
        news=news,
    )


def _used(cfg: DictConfig) -> dict[str, Any]:
    """The configuration to record; a degradation that the data do not use is an error where it was chosen.

    The default one is recorded as null: it was composed, and makes nothing.

    Raises:
        ConfigError: If a degradation was chosen for data that bring low images of their own.
    """
    config = plain(cfg)
    if "degradation" in config["data"] and config["data"]["degradation"] is None and config["degradation"] is not None:
        default = {**plain(compose("train", []).degradation), "scale": cfg.scale}
        if config["degradation"] != default:
            raise ConfigError(
                "degradation=... is used by nothing: these data bring low images of their own. Leave it out, or take "
                "originals alone (data=folder)"
            )
        config["degradation"] = None
    return config


def _evaluation(cfg: DictConfig, done: Run) -> str:
    """The command that measures the run; it runs as it stands where the run's own images can be a benchmark."""
    words = {"restorer": done.best, "benchmark": done.benchmark or "DIR", "scale": cfg.scale}
    words["report"] = done.directory / "report"
    if any(weights.file is None for weights in list_weights() if weights.name == "alexnet"):
        words["missing"] = "skip"  # LPIPS, without its weights
    return line("evaluate", *(setting(key, value) for key, value in words.items()))
