"""The extractor of features that ``srlab profile`` and ``srlab drift`` share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig
from tqdm import tqdm

from sr_lab.config.compose import build
from sr_lab.monitoring.measuring import Extractor


def extractor(cfg: DictConfig) -> Extractor:
    """The extractor of ``embedding``, ``crop`` and, with a restorer, of its outputs."""
    return Extractor(embedding=build(cfg.embedding), crop=cfg.crop, outputs=_outputs(cfg))


def _outputs(cfg: DictConfig) -> Any:
    if cfg.restorer is None:
        return None
    from sr_lab.commands._restorer import choose_device, load_restorer
    from sr_lab.inference.restorers import NetworkRestorer
    from sr_lab.monitoring.outputs import RestoredOutputs

    if not isinstance(cfg.scale, int) or cfg.scale < 1:
        raise ValueError(f"scale={cfg.scale}: a whole number of at least 1, the factor of restorer={cfg.restorer}")
    if cfg.num_samples < 2:
        raise ValueError(f"num_samples={cfg.num_samples}: one sample has no spread, give 2 or more")
    if cfg.workers > 1:
        raise ValueError(f"workers={cfg.workers}: with a restorer there is one process, leave it out")
    device = choose_device(cfg.device)
    restorer, metadata = load_restorer(
        str(cfg.restorer), scale=cfg.scale, tile=512, overlap=32, device=device, tracking_uri=cfg.tracking_uri
    )
    identity = "bicubic" if metadata is None else str(metadata.get("sha256", metadata.get("weights", cfg.restorer)))
    variance = None
    if isinstance(restorer, NetworkRestorer) and restorer.generative:
        generative = restorer

        def variance(low: Any) -> Any:
            return generative.moments(low.to(device), num=cfg.num_samples)[1].cpu()

    return RestoredOutputs(
        restore=lambda low: restorer(low.to(device)).cpu(),
        scale=cfg.scale,
        identity=identity,
        variance=variance,
        side=cfg.side,
    )


@contextmanager
def progress_bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """A function of the numbers done and of all, which draws a bar."""
    with tqdm(total=None, desc=name, unit="image", delay=1, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress
