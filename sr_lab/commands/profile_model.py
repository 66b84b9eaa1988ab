"""Tell what a network costs: parameters, operations, reach, and time, memory and price by engine and size of a window.

    srlab profile_model restorer=edge
    srlab profile_model restorer=runs/NAME/best engines=[torch,ncnn] sizes=[64,256] prices.core_hour=0.05

A price is that of an hour of one core; CPU s/MP is the processor's time for a megapixel of the result, with what tiles
compute twice. srlab profile measures folders of images.
"""

from omegaconf import DictConfig

from sr_lab.commands._telling import complain
from sr_lab.config.call import called
from sr_lab.workflows.profile_model import profile_model


def run(cfg: DictConfig) -> int:
    """Measures what ``cfg`` names."""
    found = called(profile_model, cfg, name=cfg.restorer)
    print(found.text)
    complain("profile_model", (f"{engine} left out: {reason}" for engine, reason in found.unfit.items()))
    return 0
