"""MATLAB's bicubic: speed and fidelity of both modes against BasicSR's ``imresize`` and plain torch, on one thread.

    python benchmarks/imresize.py [FOLDER]

FOLDER holds ``x2/{HR,LR}`` and ``x4/{HR,LR}``, the LR made by MATLAB (default: BSD100 of ``$SR_LAB_SHARED``, or of
``../shared``). Every method resizes every image; the time of an image is the least of three tries, the table gives the
mean over the images. Ratios are to BasicSR in the same run. Exits with 1 if a bar is missed.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import peers
import torch
from torch import Tensor

from sr_lab.images import list_images, read_image, resize_bicubic, resize_bicubic_uint8, to_tensor

BARS = {"exact mode": 2.0, "float mode": 5.0, "float mode, enlarging": 5.0}


def milliseconds(function: Callable[[], Tensor]) -> float:
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best * 1e3


def torch_antialiased(high: Tensor, scale: int) -> Tensor:
    size = (high.shape[2] // scale, high.shape[3] // scale)
    return torch.nn.functional.interpolate(high, size=size, mode="bicubic", antialias=True)


def measure(folder: Path, scale: int) -> dict[str, tuple[float, float, float]]:
    """(milliseconds, largest difference in levels, share of identical samples) of each method; nan: not compared."""
    imresize = peers.basicsr("utils.matlab_functions").imresize
    totals: dict[str, list[float]] = {}
    paths = list_images(folder / "HR")
    for path in paths:
        high8 = torch.from_numpy(read_image(path)).permute(2, 0, 1)[None].contiguous()
        low8 = torch.from_numpy(read_image(folder / "LR" / path.name)).permute(2, 0, 1)[None]
        high, low = high8 / 255, to_tensor(read_image(folder / "LR" / path.name))
        leaf = high.clone().requires_grad_()
        methods: dict[str, Callable[[], Tensor]] = {
            "BasicSR": lambda high=high: imresize(high[0], 1 / scale)[None],
            "torch, antialias=True": lambda high=high: torch_antialiased(high, scale),
            "exact mode": lambda high8=high8: resize_bicubic_uint8(high8, scale=1 / scale),
            "float mode": lambda high=high: resize_bicubic(high, scale=1 / scale),
            "float mode with gradient": lambda leaf=leaf: torch.autograd.grad(
                resize_bicubic(leaf, scale=1 / scale).sum(), leaf
            )[0],
            "BasicSR, enlarging": lambda low=low: imresize(low[0], scale)[None],
            "float mode, enlarging": lambda low=low: resize_bicubic(low, scale=scale),
        }
        for name, function in methods.items():
            restored = function()
            difference = torch.zeros(1)
            if restored.shape == low8.shape:
                levels = restored if restored.dtype == torch.uint8 else (restored * 255).round().clamp(0, 255)
                difference = (levels.int() - low8.int()).abs().float()
            total = totals.setdefault(name, [0.0, 0.0, 0.0])
            total[0] += milliseconds(function) / len(paths)
            total[1] = max(total[1], difference.max().item()) if restored.shape == low8.shape else float("nan")
            total[2] += (difference == 0).float().mean().item() / len(paths)
    return {name: (total[0], total[1], total[2]) for name, total in totals.items()}


def main() -> int:
    torch.set_num_threads(1)
    shared = Path(os.environ.get("SR_LAB_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else shared / "datasets" / "benchmark" / "BSD100"
    missed = []
    for scale in (2, 4):
        print(f"\n{root.name} x{scale}, one thread, ms an image")
        print(f"{'method':26}{'ms':>8}{'ratio':>8}{'max diff':>10}{'identical':>11}")
        results = measure(root / f"x{scale}", scale)
        for name, (cost, difference, share) in results.items():
            baseline = results["BasicSR, enlarging" if name.endswith("enlarging") else "BasicSR"][0]
            fidelity = f"{difference:10.0f}{share:11.2%}" if difference == difference else f"{'-':>10}{'-':>11}"
            print(f"{name:26}{cost:8.2f}{baseline / cost:7.1f}x{fidelity}")
            if baseline / cost < BARS.get(name, 0) or (name == "exact mode" and share < 1):
                missed.append(f"x{scale} {name}")
    print("\nbars: " + ", ".join(f"{name} {bar:.0f}x" for name, bar in BARS.items()) + ", exact mode 100 % identical")
    print("missed: " + (", ".join(missed) or "none"))
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
