"""How long the projection of consistency=exact takes, and what it leaves.

    python benchmarks/consistency.py

One thread, random images; the second figure of each size is with the matrices made before. Prints a table.
"""

import time

import torch

from sr_lab.inference.consistency import ConsistentRestorer
from sr_lab.inference.restorers import BicubicRestorer


def main() -> None:
    torch.set_num_threads(1)
    print("| factor | low image | first call | next calls | a megapixel | consistency in float |")
    print("|---|---|---|---|---|---|")
    for scale, side in ((2, 256), (2, 1024), (3, 512), (4, 256), (4, 512)):
        generator = torch.Generator().manual_seed(0)
        restorer = ConsistentRestorer(BicubicRestorer(scale=scale))
        low = torch.rand(1, 3, side, side, generator=generator)
        image = torch.rand(1, 3, side * scale, side * scale, generator=generator)
        seconds = []
        for _ in range(4):
            start = time.process_time()
            projected = restorer.project(image, low)
            seconds.append(time.process_time() - start)
        best = min(seconds[1:])
        held = restorer.consistency(projected, low)
        each = best / (side * scale) ** 2 * 1e6
        print(f"| x{scale} | {side}x{side} | {seconds[0]:.3f} s | {best:.3f} s | {each:.3f} s | {held:.0f} dB |")


if __name__ == "__main__":
    main()
