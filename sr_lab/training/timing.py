"""How long an optimizer step takes on this machine."""

import time

import torch

from sr_lab.networks.base import Network


def seconds_per_step(
    network: Network, *, crop: int, batch_size: int, device: torch.device | str, num_steps: int = 3
) -> float:
    """Fastest of a few forward and backward passes, after one that warms up; the network is not changed.

    Args:
        network: moved to the device.
        crop: side of the high crops in pixels.
        batch_size: crops a step.
        device: where.
        num_steps: that are timed.
    """
    network = network.to(device).train()
    side = max(crop // network.scale, 1)
    low = torch.rand(batch_size, network.num_channels, side, side, device=device)
    seconds = []
    for _ in range(num_steps + 1):
        start = time.perf_counter()
        network(low).square().mean().backward()
        network.zero_grad(set_to_none=True)
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    network.eval()
    return min(seconds[1:])
