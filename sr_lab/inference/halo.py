"""How far a network sees: the halo that its tiles need, found by measurement."""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from sr_lab.base.files import read_json, write_json
from sr_lab.base.places import user_cache
from sr_lab.inference.hashes import network_hash
from sr_lab.inference.tiles import Halo

__all__ = ["Halo", "known_halo", "measure_halo"]

ROUNDING = 2e-6
"""Largest difference, of values in [0, 1], that can be rounding: sums taken in another order."""
TOLERANCE = 0.25 / 255
"""Largest difference that a network whose radius is hundreds of pixels may show on the probe: a quarter of a level."""
LIMIT = 64
"""Most pixels that are tried; a wider halo would cost more than it is worth."""


VERSION = 1
"""Of what is kept: another number makes what was measured before count no more."""


def known_halo(network: nn.Module, *, device: torch.device | str = "cpu", folder: Path | None = None) -> Halo:
    """``measure_halo`` of a network, measured once and kept under its hash.

    Args:
        network: with ``scale``, ``num_channels`` and perhaps ``stride``, in evaluation mode on ``device``.
        device: where it is.
        folder: where halos are kept; None for the user's cache.
    """
    kind = torch.device(device).type
    file = (folder or user_cache() / "halos") / f"{network_hash(network, VERSION, kind)}.json"
    try:
        return Halo(**read_json(file))
    except (OSError, ValueError, TypeError):  # not there, or not whole
        pass
    halo = measure_halo(
        network,
        scale=int(network.scale),  # type: ignore[arg-type]
        num_channels=int(network.num_channels),  # type: ignore[arg-type]
        stride=int(getattr(network, "stride", 1)),
        device=device,
    )
    with contextlib.suppress(OSError):  # a cache that cannot be written is measured again
        write_json(file, asdict(halo))
    return halo


@torch.inference_mode()
def measure_halo(
    apply: Callable[[Tensor], Tensor],
    *,
    scale: int,
    num_channels: int,
    stride: int = 1,
    limit: int = LIMIT,
    device: torch.device | str = "cpu",
) -> Halo:
    """The least halo at which a window's core is what the whole image has there.

    The probe is noise of full contrast over coarse patches, in which every pixel counts. A window in its middle is
    restored with a growing margin, and its core is compared with the same place of the whole probe, which grows until
    it is large enough. A network that sees further than ``limit`` gets the least margin at which the two differ by at
    most ``TOLERANCE``, or else ``limit``.

    Args:
        apply: Maps (1, C, h, w) to (1, C, h * scale, w * scale).
        scale: Enlargement factor.
        num_channels: Channels C.
        stride: See ``plan_tiles``.
        limit: Most pixels to try.
        device: Where ``apply`` wants its images.
    """
    most = max(limit, 2 * stride)
    for part in (4, 2, 1):
        halo = _measured(apply, scale, num_channels, stride, most // part // stride * stride, device)
        if halo is not None and (halo.exact or part == 1):
            return halo
    return Halo(most // stride * stride, float("nan"), exact=False)


def _measured(
    apply: Callable[[Tensor], Tensor], scale: int, num_channels: int, stride: int, limit: int, device: object
) -> Halo | None:
    """The halo below ``limit``; None where there is none."""
    steps = range(0, limit, stride)
    if len(steps) < 2:
        return None
    core = 2 * stride if stride > 4 else 8
    probe = _probe(num_channels, 2 * limit + core).to(device)  # type: ignore[call-overload]
    middle = slice(limit * scale, (limit + core) * scale)
    whole = apply(probe)[..., middle, middle]

    @functools.cache
    def error(margin: int) -> float:
        window = slice(limit - margin, limit + core + margin)
        inner = slice(margin * scale, (margin + core) * scale)
        piece = apply(probe[..., window, window].contiguous())[..., inner, inner]
        return float((piece - whole).abs().max())

    least = error(steps[-1])
    if least > TOLERANCE:
        return None
    exact = least <= ROUNDING
    most = max(2 * least, ROUNDING / 2) if exact else TOLERANCE
    found = _first(steps, lambda margin: error(margin) <= most)
    return Halo(found, error(found), exact)


def _probe(num_channels: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise, patches = (torch.rand(1, num_channels, size, size, generator=generator) for _ in range(2))
    patches = nn.functional.interpolate(patches[..., ::7, ::7], size=(size, size), mode="nearest")
    return 0.5 * noise + 0.5 * (patches > 0.5)


def _first(steps: range, holds: Callable[[int], bool]) -> int:
    """The least of ``steps`` from which on the condition holds, by bisection; it holds at the last."""
    low, high = 0, len(steps) - 1
    while low < high:
        middle = (low + high) // 2
        if holds(steps[middle]):
            high = middle
        else:
            low = middle + 1
    return steps[low]
