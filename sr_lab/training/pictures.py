"""Pictures during the training: what the network makes of the same validation crops, step by step."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sr_lab.images import resize_bicubic
from sr_lab.training.base import Batch
from sr_lab.training.logger import TrackingRun


def most_detailed_crop(high: Tensor, *, side: int, multiple: int) -> tuple[int, int]:
    """Top and left of the square of ``side`` pixels with the largest gradient energy in ``high`` (1, C, H, W).

    Both are multiples of ``multiple``.
    """
    grey = high.mean(1, keepdim=True)
    energy = F.pad(grey.diff(dim=2).abs(), (0, 0, 0, 1)) + F.pad(grey.diff(dim=3).abs(), (0, 1, 0, 0))
    total = F.avg_pool2d(energy, side, stride=multiple)
    row, column = divmod(int(total.flatten().argmax()), total.shape[-1])
    return row * multiple, column * multiple


def grid_row(low: Tensor, restored: Tensor, high: Tensor, *, scale: int, side: int) -> np.ndarray:
    """One row of the picture: LR (pixels shown as squares), bicubic, restored, HR.

    Args:
        low: (1, C, h, w).
        restored: (1, C, H, W).
        high: (1, C, H, W).
        scale: H / h.
        side: side of the crop in HR pixels.

    Returns:
        (side, 4 * side + gaps, 3) uint8.
    """
    side = min(side, *high.shape[-2:]) // scale * scale
    top, left = most_detailed_crop(high, side=side, multiple=scale)
    bicubic = resize_bicubic(low, size=(high.shape[-2], high.shape[-1]))
    squares = low.repeat_interleave(scale, -1).repeat_interleave(scale, -2)
    crops = [image[..., top : top + side, left : left + side] for image in (squares, bicubic, restored, high)]
    columns = []
    for crop in crops:
        rgb = crop[0, :3] if crop.shape[1] >= 3 else crop[0, :1].expand(3, -1, -1)
        columns.append(F.pad(rgb.float().clamp(0, 1), (2, 2, 2, 2), value=1.0))
    picture = torch.cat(columns, dim=2).permute(1, 2, 0)
    return (picture * 255).round().to(torch.uint8).cpu().numpy()


def title_strip(titles: Sequence[str], width: int) -> np.ndarray:
    """A strip (16, ``width``, 3) uint8 with a title above each of as many columns; what is too long is cut."""
    strip = Image.new("RGB", (width, 16), "white")
    draw, font, column = ImageDraw.Draw(strip), ImageFont.load_default(11), width // len(titles)
    for place, title in enumerate(titles):
        while title and draw.textlength(title, font=font) > column - 6:
            title = title[:-1]
        draw.text((place * column + 3, 1), title, fill="black", font=font)
    return np.asarray(strip)


class PictureGrid(pl.Callback):
    """Logs, at every validation, LR | bicubic | restored | HR of the most detailed crops, under their titles.

    Of clips it shows the last frame.

    Args:
        run: where the pictures go; key ``val/pictures``.
        num_images: how many of the first validation images are shown.
        side: side of a crop in HR pixels.
    """

    def __init__(self, *, run: TrackingRun, num_images: int = 4, side: int = 160) -> None:
        super().__init__()
        self.run, self.num_images, self.side = run, num_images, side
        self._rows: list[np.ndarray] = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int, *_: Any
    ) -> None:
        """Keeps a row of each of the first images; ``outputs`` is the restored image."""
        if trainer.is_global_zero and batch_idx < self.num_images:
            low, restored, high = (
                images[:, -1] if images.ndim == 5 else images for images in (batch["low"], outputs, batch["high"])
            )
            scale = high.shape[-1] // low.shape[-1]
            row = grid_row(low, restored, high, scale=scale, side=self.side)
            name = "".join(batch.get("name", [])[:1])
            titles = [f"low x{scale}  {name}", "bicubic", f"restored, step {trainer.global_step}", "original"]
            self._rows.append(np.concatenate([title_strip(titles, row.shape[1]), row]))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Logs the picture."""
        rows, self._rows = self._rows, []
        if rows and trainer.state.fn == "fit":
            width = max(row.shape[1] for row in rows)
            padded = [np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows]
            self.run.log_image(np.concatenate(padded), "val/pictures", trainer.global_step)
