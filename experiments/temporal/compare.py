"""A causal network against one that sees each frame alone, on clips: PSNR, warping error, stability, pictures.

    python experiments/temporal/compare.py CLIPS OUT per_frame=ARTEFACT recurrent=ARTEFACT [--frames 24]

CLIPS holds a folder of frames for each clip. Low frames are MATLAB's bicubic at a quarter, rounded to 8 bits. PSNR is
of Y as vid4_y has it (whole frames, no border), mean over all frames; the warping error is Lai's x 1000 with flow and
mask of the original (``sr_lab.metrics.temporal``). Writes OUT/table.md, OUT/clips.json (each frame's PSNR) and for
each clip OUT/CLIP.png: original, low, restorers; a crop of the last frame above a row of pixels over time; and
OUT/CLIP_frames.png: original and restorers, a crop of frames one behind the other, from --from on at --place.
"""

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sr_lab.artefacts.artefact import load_artefact
from sr_lab.images import crop_to_multiple, list_images, read_image, resize_bicubic, rgb_to_y, to_array, to_tensor
from sr_lab.images.flow import dis_flow, occluded
from sr_lab.images.moment import Motion, grey
from sr_lab.inference.clips import network_restorer, restored_frames
from sr_lab.inference.restorers import BicubicRestorer
from sr_lab.metrics.temporal import warping_error

SCALE, CROP = 4, 160
_GAP = ((2, 2), (2, 2), (0, 0))


def psnr_y(restored: Tensor, target: Tensor) -> float:
    """Of one frame, in dB."""
    error = (rgb_to_y(restored) - rgb_to_y(target)).double().square().mean()
    return float(-10 * torch.log10(error))


def score(frames: list[Any], motions: list[Motion]) -> float:
    """Warping error of a clip x 1000."""
    steps = [warping_error(a, b, motion) for a, b, motion in zip(frames, frames[1:], motions, strict=False)]
    return 1000 * float(np.nanmean(steps))


def picture(columns: list[list[Any]], place: tuple[int, int]) -> Any:
    """A crop of the last frame of each, and below it the crop's middle row over time."""
    top, left = place
    parts = []
    for frames in columns:
        crop = frames[-1][top : top + CROP, left : left + CROP]
        rows = np.stack([frame[top + CROP // 2, left : left + CROP] for frame in frames])
        parts.append(np.concatenate([crop, np.full((4, CROP, 3), 255, np.uint8), rows.repeat(4, axis=0)]))
        parts.append(np.full((parts[-1].shape[0], 4, 3), 255, np.uint8))
    return np.concatenate(parts[:-1], axis=1)


def sheet(columns: list[list[Any]], place: tuple[int, int], times: range) -> Any:
    """A crop of each frame, one below the other, of each clip, one beside the other."""
    top, left = place
    rows = []
    for moment in times:
        crops = [
            np.pad(frames[moment][top : top + CROP, left : left + CROP], _GAP, constant_values=255)
            for frames in columns
        ]
        rows.append(np.concatenate(crops, axis=1))
    return np.concatenate(rows)


def still(restorers: dict[str, Any], low: Tensor, high: Tensor) -> dict[str, list[float]]:
    """PSNR of frames 10 and 300 of one frame that is played 300 times, with noise that lets no two be equal."""
    low, high = low[..., :48, :48], high[..., : 48 * SCALE, : 48 * SCALE]
    found = {}
    for name, restorer in restorers.items():
        noise = torch.Generator().manual_seed(0)
        lows = ((low + 0.002 * torch.randn(low.shape, generator=noise)).clamp(0, 1) for _ in range(300))
        values = [psnr_y(frame.clamp(0, 1), high) for frame in restored_frames(restorer, lows)]
        found[name] = [float(np.mean(values[8:12])), float(np.mean(values[-4:]))]
    return found


@torch.inference_mode()
def main() -> None:
    """Restores, measures, writes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("clips", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("restorers", nargs="+")
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--from", type=int, default=8, dest="first")
    parser.add_argument("--place", type=int, nargs=2, help="top and left of the crop; its middle by default")
    arguments = parser.parse_args()
    networks = {}
    for text in arguments.restorers:
        name, _, path = text.partition("=")
        networks[name] = load_artefact(Path(path)).network
    restorers: dict[str, Any] = {"bicubic": BicubicRestorer(scale=SCALE)}
    restorers |= {name: network_restorer(network) for name, network in networks.items()}
    arguments.output.mkdir(parents=True, exist_ok=True)
    records: dict[str, dict[str, Any]] = {}
    stable: dict[str, list[float]] = {}
    for folder in sorted(each for each in arguments.clips.iterdir() if each.is_dir()):
        highs = [crop_to_multiple(to_tensor(read_image(file)), SCALE) for file in list_images(folder)]
        highs = highs[: arguments.frames]
        lows = [(255 * resize_bicubic(high, scale=1 / SCALE)).round().clamp(0, 255) / 255 for high in highs]
        shown = {"original": [to_array(high) for high in highs]}
        greys = [grey(frame) for frame in shown["original"]]
        motions = []
        for before, now in pairwise(greys):
            forward = dis_flow(before, now)
            motions.append(Motion(forward, ~occluded(forward, dis_flow(now, before))))
        record: dict[str, Any] = {"original": {"warping": score(shown["original"], motions)}}
        for name, restorer in restorers.items():
            begin = time.process_time()
            restored = [frame.clamp(0, 1) for frame in restored_frames(restorer, iter(lows))]
            seconds = (time.process_time() - begin) / len(lows)
            shown[name] = [to_array(frame) for frame in restored]
            psnr = [psnr_y(to_tensor(frame), high) for frame, high in zip(shown[name], highs, strict=True)]
            record[name] = {"psnr": psnr, "warping": score(shown[name], motions), "cpu_seconds": seconds}
        records[folder.name] = record
        height, width = shown["original"][0].shape[:2]
        squares = [frame.repeat(SCALE, axis=0).repeat(SCALE, axis=1) for frame in map(to_array, lows)]
        columns = [shown["original"], squares, *(shown[name] for name in restorers)]
        place = ((height - CROP) // 2, (width - CROP) // 2)
        Image.fromarray(picture(columns, place)).save(arguments.output / f"{folder.name}.png")
        times = range(min(arguments.first, len(highs) - 1), min(arguments.first + 5, len(highs)))
        without_low = [shown["original"], *(shown[name] for name in restorers)]
        frames = sheet(without_low, tuple(arguments.place or place), times)
        Image.fromarray(frames).save(arguments.output / f"{folder.name}_frames.png")
        stable = stable or still({name: restorers[name] for name in networks}, lows[0], highs[0])
        print(folder.name, {name: round(float(np.mean(record[name]["psnr"])), 3) for name in restorers}, flush=True)
    (arguments.output / "clips.json").write_text(json.dumps({"clips": records, "still": stable}, indent=1))
    (arguments.output / "table.md").write_text(table(records, list(restorers)))
    print(
        table(records, list(restorers)), stable, {name: net.num_parameters for name, net in networks.items()}, sep="\n"
    )


def table(records: dict[str, dict[str, Any]], names: list[str]) -> str:
    """PSNR and warping error of each clip, and over all frames."""
    head = ["clip", *(f"PSNR-Y {name}" for name in names), "E_warp original", *(f"E_warp {name}" for name in names)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for clip, record in records.items():
        values = [f"{np.mean(record[name]['psnr']):.2f}" for name in names]
        values += [f"{record[name]['warping']:.2f}" for name in ("original", *names)]
        lines.append(f"| {clip} | {' | '.join(values)} |")
    frames = [f"{np.mean([v for record in records.values() for v in record[name]['psnr']]):.2f}" for name in names]
    weights = [len(record[names[0]]["psnr"]) - 1 for record in records.values()]
    errors = {name: [record[name]["warping"] for record in records.values()] for name in ("original", *names)}
    steps = [f"{np.average(values, weights=weights):.2f}" for values in errors.values()]
    return "\n".join([*lines, f"| all frames | {' | '.join([*frames, *steps])} |", ""])


if __name__ == "__main__":
    main()
