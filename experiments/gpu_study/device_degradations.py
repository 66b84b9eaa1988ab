"""Degradations on the device: images/s, and their distance to the CPU's for the same draws."""

import time

import torch
from degradations import photos, preset

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def throughput(name: str, batch: int, rounds: int) -> float:
    """Images a second by the clock, 256x256 to 64x64, drawing included; the best of ``rounds`` batches."""
    high = photos(min(batch, 64)).repeat(-(-batch // 64), 1, 1, 1)[:batch].to(DEVICE)
    pipeline = preset(name)
    times = []
    for step in range(rounds + 1):
        start = time.perf_counter()
        params = pipeline.draw_keyed([(0, step, index) for index in range(batch)])
        pipeline.pair(high, params)
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return batch / min(times[1:])


def agreement(name: str, count: int) -> dict[str, float]:
    """Mean and largest mean difference of a sample, in levels of 255, between the device's way and the CPU's."""
    high = photos(count)
    pipeline = preset(name)
    params = pipeline.draw_keyed([(1, 0, index) for index in range(count)])
    expected = pipeline.apply(high, params)
    ours = pipeline.apply_canvas(high.to(DEVICE), pipeline.checked(params, count)).cpu()
    samples = (ours - expected).abs().mean(dim=(1, 2, 3)) * 255
    return {"mean_levels": float(samples.mean()), "largest_levels": float(samples.max())}
