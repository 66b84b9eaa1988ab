"""Look at many results of many pictures on one page: zoom together, difference, flicker, spectrum, invented detail.

    srlab gallery restorers=[edge,bicubic,pretrained/realesrgan_x4plus] images=photos output=look.html
    srlab gallery runs=[runs/A,runs/B] restorers=[bicubic] images=photos output=look.html
    srlab gallery 'runs=[runs/SWEEP/*]' images=photos only=[portrait,street] output=look

The page holds its pictures, without loss, and works from a disk. Its keys: ? tells them. Its address holds the image,
the view, the zoom and the place, so that it can be sent to somebody who has the page.
"""

from pathlib import Path

from omegaconf import DictConfig

from sr_lab.config.compose import build
from sr_lab.config.words import counted
from sr_lab.workflows.gallery import Gallery, find_runs, make_gallery
from sr_lab.workflows.load import choose_device
from sr_lab.workflows.showing import load_restorers


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    made = call(cfg)
    print(f"{counted(made.num_images, 'image')}, {made.num_bytes / 1e6:.1f} MB\npage: {made.page}")
    return 0


def call(cfg: DictConfig) -> Gallery:
    """The gallery that ``cfg`` asks for, written."""
    device = choose_device(cfg.device)
    restorers, scale = load_restorers(
        [*find_runs([str(run) for run in cfg.runs]), *(str(name) for name in cfg.restorers)],
        scale=cfg.scale,
        pictures={str(name): Path(place) for name, place in cfg.pictures.items()},
        device=device,
        tracking_uri=cfg.tracking_uri,
        tile=cfg.tile,
        engine=cfg.engine,
        seed=cfg.seed,
    )
    cfg = cfg.copy()
    cfg.scale = scale
    return make_gallery(
        restorers,
        Path(cfg.images),
        output=Path(cfg.output),
        scale=scale,
        protocol=build(cfg.protocol),
        metrics={name: build(node) for name, node in cfg.metrics.items()},
        as_input=cfg.as_input,
        degradation=None if cfg.degradation is None else build(cfg.degradation),
        title=cfg.title,
        side=cfg.side,
        where=cfg.where,
        num_images=cfg.num_images,
        only=None if cfg.only is None else [str(name) for name in cfg.only],
        seed=cfg.seed,
        device=device,
    )
