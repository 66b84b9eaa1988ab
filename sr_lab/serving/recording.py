"""What is written down of a request, so that it can be done again: hashes, sizes, the model, the settings."""

import hashlib
from typing import Any

from sr_lab.serving.asking import Ask
from sr_lab.serving.models import Pixels, Served
from sr_lab.serving.pictures import decode
from sr_lab.serving.records import digest, software


def record_of(
    ask: Ask, sent: bytes, low: Pixels, model: Served, answer: bytes, tier: str, replaced: str
) -> dict[str, Any]:
    """The record of a request that was answered; no pixels, and nothing of who asked.

    Args:
        ask: What was asked for.
        sent: The file that was sent.
        low: Its picture, as it was restored.
        model: What restored it.
        answer: The file that was answered.
        tier: Of the model.
        replaced: Why the guard replaced another image by this; empty if it did not.
    """
    height, width = low.shape[:2]
    return {
        "input_sha256": hashlib.sha256(sent).hexdigest(), "input_bytes": len(sent), "pixels": height * width,
        "height": height, "width": width, "channels": low.shape[2], "model": model.name, "version": model.version,
        "restorer": model.uri, "weights": dict((model.restorer.metadata or {}).get("sha256", {})),
        "scale": model.scale, "tile": model.tile, "num_tiles": len(model.plan(height, width).tiles),
        "seed": model.seed, "engine": model.engine, "tier": tier, "replaced": replaced,
        "format": ask.format, "quality": ask.quality, "strip": ask.strip, "consistency": ask.consistency,
        "background": None if ask.background is None else list(ask.background),
        "output_sha256": hashlib.sha256(answer).hexdigest(), "output_bytes": len(answer),
        "output_pixels": digest(decode(answer, max_pixels=1 << 40).pixels), "software": software(),
    }  # fmt: skip
