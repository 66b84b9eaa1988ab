"""Error of DIS flow on small frames, by the size to which they are enlarged for the search.

    python experiments/temporal/flows.py ../shared/datasets/benchmark/BSD100/x4/HR

Low frames of 64x64 (MATLAB's bicubic at a quarter, 8 bits) of camera paths with exact flow; mean distance in low
pixels, without four pixels of the border and covered ones.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from sr_lab.data.camera import Event, Motion, camera_clip
from sr_lab.images import list_images, read_image, resize_bicubic, to_tensor
from sr_lab.images.flow import dis_flow

PATHS: list[tuple[Motion, Event]] = [
    ("similarity", "none"),
    ("bend", "none"),
    ("pan", "none"),
    ("similarity", "crowd"),
    ("bend", "crowd"),
    ("pan", "crowd"),
]
SIDE, INNER = 256, slice(4, -4)


def main() -> None:
    """Prints a row for each factor."""
    files = [file for file in list_images(Path(sys.argv[1])) if min(read_image(file).shape[:2]) >= SIDE + 8]
    photos = [to_tensor(read_image(file)) for file in files[:40]]
    factors = (1, 2, 3, 4)
    errors: dict[int, dict[str, list[float]]] = {factor: {"none": [], "crowd": []} for factor in factors}
    seconds = dict.fromkeys(factors, 0.0)
    for number in range(12):
        motion, event = PATHS[number % len(PATHS)]
        clip = camera_clip(
            photos[number], key=(3, 0, number), count=4, size=(SIDE, SIDE), motion=motion, event=event, speed=4.0,
            others=photos[number + 20 : number + 23],
        )  # fmt: skip
        low = (255 * resize_bicubic(clip.frames, scale=0.25)).round().clamp(0, 255)
        greys = low.mean(dim=1).round().numpy().astype(np.uint8)
        exact = F.avg_pool2d(torch.from_numpy(clip.flow).permute(0, 3, 1, 2), 4).permute(0, 2, 3, 1).numpy() / 4
        seen = F.max_pool2d(torch.from_numpy(clip.covered).float()[:, None], 4)[:, 0].numpy() == 0
        for factor in factors:
            for step in range(3):
                begin = time.process_time()
                found = dis_flow(greys[step], greys[step + 1], enlarge=factor)
                seconds[factor] += time.process_time() - begin
                apart = np.hypot(*np.moveaxis(found - exact[step], -1, 0))
                errors[factor][event].append(float(apart[INNER, INNER][seen[step][INNER, INNER]].mean()))
    print("| enlarged by | one motion | crowds | CPU ms a pair |\n|---|---|---|---|")
    for factor in factors:
        one, crowd = (np.mean(errors[factor][event]) for event in ("none", "crowd"))
        print(f"| {factor} | {one:.3f} | {crowd:.3f} | {1000 * seconds[factor] / 36:.1f} |")


if __name__ == "__main__":
    main()
