"""VMAF (NEG) of clips, through the FFmpeg that the package imageio-ffmpeg brings along."""

import importlib
import json
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sr_lab.base.extras import install
from sr_lab.images import rgb_to_y, to_tensor
from sr_lab.images.moment import Frame
from sr_lab.metrics.base import ClipMetric
from sr_lab.metrics.protocol import Protocol
from sr_lab.metrics.temporal import CLIPS_ONLY

NEG = "vmaf_v0.6.1neg"
"""The model without gain for enhancement: sharpening is not rewarded."""


@cache
def find_ffmpeg() -> tuple[str, str]:
    """An FFmpeg with libvmaf, or the reason why there is none: one of the two is empty."""
    try:
        program = importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return "", f"imageio-ffmpeg is not installed: {install('imageio_ffmpeg')}"
    filters = subprocess.run([program, "-hide_banner", "-filters"], capture_output=True, text=True, check=False).stdout
    if " libvmaf " not in filters:
        return "", f"{program} was built without libvmaf: {install('imageio_ffmpeg')} brings one that has it"
    return program, ""


def vmaf(
    restored: Sequence[Frame], target: Sequence[Frame], *, model: str = NEG, rate: float = 25.0
) -> tuple[list[float], str]:
    """VMAF of each frame of a clip, 0 to 100, and the version of libvmaf.

    Compared is luma (BT.601, limited range, rounded), which is all that VMAF looks at.

    Args:
        restored: (H, W, C) of 8 bits, RGB or grey.
        target: The same of the originals.
        model: One of libvmaf's built-in models, of the version 0.6.1 family.
        rate: Frames a second; VMAF's motion does not depend on it.

    Raises:
        ValueError: If the numbers or sizes differ, or there is no FFmpeg with libvmaf.
        RuntimeError: If it fails.
    """
    if len(restored) != len(target) or not restored or restored[0].shape != target[0].shape:
        raise ValueError("VMAF compares two clips of as many frames of one size, at least one")
    program, reason = find_ffmpeg()
    if reason:
        raise ValueError(reason)
    height, width = (side - side % 2 for side in target[0].shape[:2])
    with tempfile.TemporaryDirectory(prefix="srlab-") as scratch:
        log = Path(scratch) / "log.json"
        inputs: list[str] = []
        for name, frames in (("restored", restored), ("target", target)):
            file = Path(scratch) / f"{name}.yuv"
            with file.open("wb") as stream:
                for frame in frames:
                    stream.write(_luma(frame)[:height, :width].tobytes())
                    stream.write(b"\x80" * (height * width // 2))
            raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", f"{rate:g}"]
            inputs += [*raw, "-i", str(file)]
        options = f"model=version={model}:log_fmt=json:log_path={log.name}"
        command = [program, "-v", "error", "-nostdin", *inputs, "-lavfi", f"[0:v][1:v]libvmaf={options}"]
        done = subprocess.run([*command, "-f", "null", "-"], capture_output=True, text=True, check=False, cwd=scratch)
        if done.returncode:
            raise RuntimeError(f"VMAF failed: {done.stderr.strip().splitlines()[-1:]}")
        found: dict[str, Any] = json.loads(log.read_text())
    return [float(frame["metrics"]["vmaf"]) for frame in found["frames"]], str(found["version"])


class VMAF(ClipMetric):
    """VMAF of the frames of a clip, by the model without enhancement gain (NEG) unless another one is named.

    Args:
        model: One of libvmaf's built-in models, of the version 0.6.1 family.
    """

    higher_is_better = True
    digits = ".2f"

    def __init__(self, *, model: str = NEG) -> None:
        super().__init__()
        self.model = model
        self.version = ""

    @property
    def key(self) -> str:
        """``vmaf_neg``, or ``vmaf``."""
        return "vmaf_neg" if self.model.endswith("neg") else "vmaf"

    @property
    def label(self) -> str:
        """As its authors write it."""
        return "VMAF NEG" if self.model.endswith("neg") else "VMAF"

    @property
    def definition(self) -> str:  # type: ignore[override]
        """The metric in words."""
        version = f", libvmaf {self.version}" if self.version else ""
        return (
            f"VMAF, model {self.model}{version}, of luma, 0 to 100, a value a frame. It was made for video that was "
            "encoded and enlarged for a large screen; it fails where the picture is shifted."
        )

    def unavailable(self, protocol: Protocol) -> str | None:
        """Of single images, and without libvmaf."""
        return CLIPS_ONLY.format(protocol.name) if not protocol.clips else find_ffmpeg()[1] or None

    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """(B,) NaN: it is of clips."""
        return restored.new_full((len(restored),), float("nan"))

    def of_clip(self, restored: Sequence[Frame], target: Sequence[Frame]) -> list[float]:
        """See ``vmaf``."""
        values, self.version = vmaf(restored, target, model=self.model)
        return values


def _luma(frame: Frame) -> Any:
    """(H, W) of 8 bits, 16 to 235 as video has it."""
    if frame.shape[-1] != 3:
        return frame[..., 0]
    with torch.inference_mode():
        y = rgb_to_y(to_tensor(frame))[0, 0]
    return np.asarray((y * 255).round().numpy(), np.uint8)
