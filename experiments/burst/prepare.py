"""Pairs to train on: crops of photos as the solver gives them back from a burst, and as they were.

    python experiments/burst/prepare.py PAIRS [--crops 2] [--strength 1]

Luma of T91 and BSDS400, without what shows a test image; each burst of five frames is that of ``degradation=burst`` by
its key (seed, epoch, index), solved with its true shifts (ECC finds them to .01 low pixels in whole photos).
Writes PAIRS/train/low and PAIRS/train/high, and those of every twentieth photo below PAIRS/val.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from sr_lab.config.compose import build, compose
from sr_lab.images import write_image
from sr_lab.images.burst import solve

SCALE, COUNT, NOISE, CROP, BATCH = 4, 5, 0.01, 192, 8
DATA = [
    "data=t91_bsds400_clips", "degradation=burst", f"scale={SCALE}", "data.train.channels=y", "data.val.channels=y",
    f"data.clips.frames={COUNT}", "data.clips.speed=0", "data.clips.motions=[pan]", "data.clips.events=[none]",
    f"data.crop={CROP}", f"data.batch_size={BATCH}",
]  # fmt: skip


def write(folder: Path, name: str, lows: Any, high: Any, shifts: Any, strength: float) -> None:
    """One pair, of frames (T, 1, h, w), their shifts and their scene (1, H, W)."""
    frames = [np.ascontiguousarray(frame[0]) for frame in np.asarray(lows, np.float32)]
    solution = solve(frames, shifts, scale=SCALE, noise=NOISE, strength=strength)
    for part, image in (("low", solution), ("high", np.asarray(high)[0])):
        write_image(folder / part / f"{name}.png", np.round(255 * image.clip(0, 1)).astype(np.uint8)[..., None])


def shifts_of(data: Any, key: tuple[int, int]) -> list[tuple[float, float]]:
    """Drawn again from the key (epoch, index)."""
    seed = data.degradation.draw_keyed([(data.seed, *key)])["sensor.seed"][0]
    shifts: list[tuple[float, float]] = data.degradation.ops["sensor"].shifts(int(seed), COUNT)
    return shifts


def main() -> None:
    """Makes them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--crops", type=int, default=2)
    parser.add_argument("--strength", type=float, default=1.0)
    arguments = parser.parse_args()
    data = build(compose("train", [*DATA, f"data.repeats={arguments.crops}"]).data)
    data.prepare_data()
    data.setup()
    dataset = data.train_dataset
    for start in range(0, len(dataset), BATCH):
        keys = [(0, index) for index in range(start, min(start + BATCH, len(dataset)))]
        made = data.finish(dataset.__getitems__(keys))
        for key, lows, highs in zip(keys, made["low"], made["high"], strict=True):
            part = "val" if key[1] // arguments.crops % 20 == 0 else "train"
            write(arguments.pairs / part, f"{key[1]:05d}", lows, highs[0], shifts_of(data, key), arguments.strength)


if __name__ == "__main__":
    main()
