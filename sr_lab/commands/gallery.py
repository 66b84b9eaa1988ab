"""Look at many results of many pictures on one page: zoom together, difference, flicker, spectrum, invented detail.

    srlab gallery restorers=[edge,bicubic,pretrained/realesrgan_x4plus] images=photos output=look.html
    srlab gallery runs=[runs/A,runs/B] restorers=[bicubic] images=photos output=look.html
    srlab gallery 'runs=[runs/SWEEP/*]' images=photos only=[portrait,street] output=look

The page holds its pictures, without loss, and works from a disk. Its keys: ? tells them. Its address holds the image,
the view, the zoom and the place, so that it can be sent to somebody who has the page.
"""

from omegaconf import DictConfig

from sr_lab.config.call import called
from sr_lab.config.words import counted
from sr_lab.workflows.gallery import find_runs, make_gallery
from sr_lab.workflows.showing import load_restorers


def run(cfg: DictConfig) -> int:
    """Makes the gallery that ``cfg`` asks for."""
    cfg = cfg.copy()
    restorers, cfg.scale = called(load_restorers, cfg, names=[*find_runs(cfg.runs), *cfg.restorers])
    made = called(make_gallery, cfg, restorers=restorers)
    print(f"{counted(made.num_images, 'image')}, {made.num_bytes / 1e6:.1f} MB\npage: {made.page}")
    return 0
