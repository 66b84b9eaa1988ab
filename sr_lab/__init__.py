"""Super-resolution from run to registry: degradations, training, trustworthy numbers, a registry with a gate.

What the command line does, Python does by the same words; see :mod:`sr_lab.api`. Names are looked up when they are
first used, so that ``import sr_lab`` costs nothing.

Example:
    >>> import sr_lab
    >>> sr_lab.load("bicubic", scale=2).scale
    2
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sr_lab.base.errors import ConfigError, SRLabError
from sr_lab.base.version import __version__

if TYPE_CHECKING:
    from sr_lab.api import (
        Approval,
        Decision,
        ImageRow,
        Measurement,
        Policy,
        compare,
        degradation,
        evaluate,
        gate,
        load,
        lpips,
        policy,
        promote,
        psnr,
        read,
        register,
        restore,
        rollback,
        ssim,
        train,
        write,
    )

__all__ = [
    "Approval",
    "ConfigError",
    "Decision",
    "ImageRow",
    "Measurement",
    "Policy",
    "SRLabError",
    "__version__",
    "compare",
    "degradation",
    "evaluate",
    "gate",
    "load",
    "lpips",
    "policy",
    "promote",
    "psnr",
    "read",
    "register",
    "restore",
    "rollback",
    "ssim",
    "train",
    "write",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("sr_lab.api"), name)
    raise AttributeError(f"module 'sr_lab' has no attribute {name!r}: it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
