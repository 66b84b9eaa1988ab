"""Two restorers side by side on the same images: means, gains with intervals, and where the first loses most.

    srlab compare a=models:/NAME@candidate b=models:/NAME@champion benchmark=DIR scale=2 report=OUT
    srlab compare a=runs/NAME/best b=bicubic benchmark=DIR scale=4 report=OUT

Writes OUT/compare.html and OUT/compare.json. Restorers are named as for srlab evaluate. It decides nothing: that is for
srlab promote. Scenes, whose images count as one observation, are told by the folder's scenes.csv, else by subfolders.
Exit code 0 only if both were scored on every image by every metric.
"""

from pathlib import Path

from omegaconf import DictConfig

from sr_lab.commands._telling import complain
from sr_lab.config.call import called
from sr_lab.workflows.compare import PAGE, compare
from sr_lab.workflows.load import load_restorer


def run(cfg: DictConfig) -> int:
    """Compares two restorers; see the module's docstring."""
    if cfg.a == cfg.b:
        raise ValueError(f"a and b are both {cfg.a}: give two restorers")
    own = {"seed": 0, "degradation": None}  # here these are of the benchmark's low images alone
    restorers = {name: called(load_restorer, cfg, name=name, **own) for name in (cfg.a, cfg.b)}
    found = called(compare, cfg, restorers=restorers, benchmark=Path(cfg.benchmark))
    print(f"{found.text}\npage: {Path(cfg.report) / PAGE}")
    reasons = [(name, image, why) for name, images in found.failures.items() for image, why in images.items()]
    complain("compare", (f"not scored: {name} on {image}: {why}" for name, image, why in reasons))
    return 1 if reasons else 0
