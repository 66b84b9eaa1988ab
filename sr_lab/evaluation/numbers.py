"""How numbers and names of an evaluation are written for people."""

import math
from pathlib import PurePath

_LABELS = {
    "psnr_y": "PSNR, luma",
    "ssim_y": "SSIM, luma",
    "psnr_rgb": "PSNR, RGB",
    "ssim_rgb": "SSIM, RGB",
    "psnr_deep": "PSNR, full depth",
    "ssim_deep": "SSIM, full depth",
    "lr_consistency": "LR consistency",
    "hallucination": "invented detail",
    "sample_variance": "sample variance",
}


def label(key: str) -> str:
    """Words for a metric's key."""
    return _LABELS.get(key, key.upper() if key.isalpha() else key)


def unit(key: str) -> str:
    """Unit of a metric's values; empty where they have none."""
    return "dB" if key.startswith(("psnr", "lr_consistency")) else ""


def format_value(key: str, value: float, *, sign: bool = False) -> str:
    """A metric's value with the digits that mean something and its unit."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "exact"
    digits = ".2f" if unit(key) else ".1e" if key == "sample_variance" else ".4f"
    return f"{value:{'+' if sign else ''}{digits}} {unit(key)}".rstrip()


def heading(restorer: str, benchmark: str, scale: int) -> str:
    """What was evaluated on what, for example ``bicubic on Set5, ×4``; of the benchmark's path its last two parts."""
    parts = [part for part in PurePath(benchmark).parts[-2:] if part not in ("/", ".", "..")]
    if parts and parts[-1] == f"x{scale}":
        parts.pop()
    return f"{restorer} on {'/'.join(parts) or benchmark}, ×{scale}"


def shorten(name: str, length: int) -> str:
    """The end of a name that is longer than ``length``: there the images of a set differ."""
    return name if len(name) <= length else "…" + name[1 - length :]
