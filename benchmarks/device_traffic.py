"""What a preset asks of a GPU, counted without one: kernels launched, copies from the host, memory moved.

    python benchmarks/device_traffic.py

Every operation is followed on tensors that have a device and no numbers (PyTorch's fake tensors). Memory is what each
operation reads and writes; at the bandwidth of a device that is the least time that it can take, and an upper bound of
images/s, not a measurement of them (`make gpu-study` makes that).
"""

import argparse
from typing import Any

import torch
from hydra.utils import instantiate
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sr_lab.config.compose import compose

VIEWS = {"alias", "as_strided", "detach", "device", "expand", "permute", "reshape", "select", "slice", "split"}
VIEWS |= {"squeeze", "t", "transpose", "unbind", "unsqueeze", "view", "_unsafe_view"}


class Count(TorchDispatchMode):
    """Counts what goes to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = self.copies = self.moved = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = str(function).split(".")[1]
        if name == "lift_fresh":
            self.copies += 1
        elif name not in VIEWS:
            self.kernels += 1
            for leaf in tree_leaves((args, kwargs, result)):
                if isinstance(leaf, torch.Tensor) and leaf.device.type == "cuda":
                    size = leaf.element_size()
                    self.moved += size * min(leaf.numel(), leaf.untyped_storage().size() // size)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bandwidth", type=float, default=4.8, help="of the device's memory in TB/s (H200: 4.8)")
    arguments = parser.parse_args()
    torch.Tensor.pin_memory = lambda tensor: tensor  # type: ignore[assignment, method-assign]
    print(f"{'256x256 -> 64x64':18}{'batch':>6}{'kernels':>9}{'copies':>8}{'GB':>7}{'images/s at most':>18}")
    for preset in ("blind_gaussian", "realesrgan", "bsrgan"):
        config = compose("degrade", ["input=x", "output=y", f"degradation={preset}"])
        pipeline = instantiate(config.degradation)
        for batch in (64, 256, 1024):
            columns = pipeline.checked(pipeline.draw_keyed([(0, 0, index) for index in range(batch)]), batch)
            if batch == 64:
                pipeline.apply_canvas(torch.rand(batch, 3, 64, 64), columns)  # the tables of the host
            with FakeTensorMode(allow_non_fake_inputs=True):
                high = torch.empty(batch, 3, 256, 256, device="cuda")
                with Count() as count:
                    pipeline.apply_canvas(high, columns)
            most = batch * arguments.bandwidth * 1e12 / count.moved
            print(f"{preset:18}{batch:6}{count.kernels:9}{count.copies:8}{count.moved / 1e9:7.1f}{most:18,.0f}")


if __name__ == "__main__":
    main()
