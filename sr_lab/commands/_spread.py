"""The same done to many images: here, or on a Ray cluster by ``launcher=ray``."""

import sys
from collections.abc import Callable, Sequence

from omegaconf import DictConfig
from tqdm import tqdm

from sr_lab.base.compute import Work, here, on_ray
from sr_lab.config.compose import build
from sr_lab.data.stores import Store
from sr_lab.sweeps.launchers import Local, Ray


def stores(cfg: DictConfig) -> tuple[Store, Store]:
    """Where the images are taken from and written to.

    Raises:
        ValueError: if ``cfg.output`` lies in ``cfg.input``.
    """
    source, target = Store(cfg.input), Store(cfg.output)
    if target.lies_in(source):
        raise ValueError(f"output={cfg.output} lies in input={cfg.input}: its images would become input")
    return source, target


def spread(cfg: DictConfig, names: Sequence[str], make: Callable[[], Work], title: str, unit: str = "image") -> int:
    """Does the work to every name under a progress bar, and names what failed; the exit code.

    Args:
        cfg: with ``launcher``.
        names: of the images.
        make: makes the work in each process that does some.
        title: of the progress bar, the command's name.
        unit: what a name is of.
    """
    launcher = build(cfg.launcher)
    if isinstance(launcher, Ray):
        done = on_ray(
            names,
            make,
            address=launcher.address,
            num_workers=launcher.num_workers,
            cores=launcher.cores,
            gpus=launcher.gpus,
        )
    elif isinstance(launcher, Local):
        done = here(names, make)
    else:
        raise ValueError(f"launcher: {type(launcher).__name__} runs sweeps; give launcher=local or launcher=ray")
    failed = []
    with tqdm(total=len(names), desc=title, unit=unit) as bar:
        for name, error in done:
            failed += [f"{name}: {error}" if name not in error else error] if error else []
            bar.update()
    for message in failed:
        print(f"srlab {title}: {message}", file=sys.stderr)
    if failed:
        print(f"srlab {title}: {len(failed)} of {len(names)} {unit}s failed; the others are written", file=sys.stderr)
    return 1 if failed else 0
