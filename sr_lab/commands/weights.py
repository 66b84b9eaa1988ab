"""The public weights that metrics and losses look through, and whole models: list them, or bring them.

    srlab weights                    # what needs which weights, and where they lie; restorer=pretrained/...
    srlab weights fetch=alex         # LPIPS: 233 MB from torchvision's address
    srlab weights fetch=[alex,vgg19] folder=DIR mirror=https://files.example.org/weights

A file is checked against the digits of its SHA-256 that torchvision puts into its name, and is there whole or not at
all; a connection that broke off is taken up again, also by the next call. The proxy variables of the environment are
honoured. SRLAB_WEIGHTS=DIR names the folder for every command; without a network, put the files there by hand.
Exit code 0: everything asked for is there, or a list was asked for, or missing=skip; 1: something could not be had.
"""

from typing import Any

from omegaconf import DictConfig
from tqdm import tqdm

from sr_lab.config.call import called
from sr_lab.config.words import line, setting
from sr_lab.workflows.weights import DownloadError, Weights, fetch_weights, list_models, list_weights


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    try:
        found = called(list_weights, cfg) if cfg.fetch is None else _fetched(cfg)
    except DownloadError as error:
        if cfg.missing == "error":
            raise
        print(f"not fetched: {error}")
        return 0
    for weights in found:
        place = weights.file or f"missing: {line('weights', setting('fetch', weights.name))}"
        print(f"{weights.name:<14} {place}\n{'':<14} for {weights.needed_by}")
    if cfg.fetch is None:
        for model in list_models():
            print(f"{model.name}\n{'':<14} {model.file or f'missing: {model.remedy}'}\n{'':<14} for {model.about}")
    return 0


def _fetched(cfg: DictConfig) -> list[Weights]:
    """The weights that ``cfg.fetch`` names, brought where they were missing."""
    names = [cfg.fetch] if isinstance(cfg.fetch, str) else list(cfg.fetch)
    with tqdm(unit="B", unit_scale=True, disable=None) as bar:
        return called(fetch_weights, cfg, names=names, timeout=cfg.seconds, progress=_shown(bar))


def _shown(bar: "tqdm[Any]") -> Any:
    def show(file: str, have: int, total: int | None) -> None:
        bar.set_description(file, refresh=False)
        bar.total, bar.n = total, have
        bar.refresh()

    return show
