"""A network whose weights are an ONNX graph: an export that is evaluated, compared and judged like any network."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sr_lab.base.threads import whole_threads
from sr_lab.networks.base import Network


class GraphNetwork(Network):
    """Runs an ONNX graph by ONNX Runtime (extra ``onnx``), on the CPU; it cannot be trained.

    Args:
        scale: Enlargement factor.
        num_channels: Channels of the images.
        num_bytes: Length of the graph's file, which is the one entry of the network's state.
        size: Height and width that the graph takes; None for any.
        work: Parameters of the network that the graph was written of, and its operations for a low-resolution pixel,
            which no counter sees in a graph; None where they are not known.
    """

    graph: Tensor

    def __init__(
        self,
        *,
        scale: int,
        num_channels: int,
        num_bytes: int,
        size: tuple[int, int] | list[int] | None = None,
        work: tuple[float, float] | list[float] | None = None,
    ) -> None:
        super().__init__(scale=scale, num_channels=num_channels)
        self.size = None if size is None else (int(size[0]), int(size[1]))
        self.work = None if work is None else (float(work[0]), float(work[1]))
        self.register_buffer("graph", torch.zeros(num_bytes, dtype=torch.uint8))
        self._session: Any = None

    @classmethod
    def of(
        cls,
        model: bytes,
        *,
        scale: int,
        num_channels: int,
        size: tuple[int, int] | None = None,
        work: tuple[float, float] | None = None,
    ) -> "GraphNetwork":
        """The network of a graph's file."""
        network = cls(scale=scale, num_channels=num_channels, num_bytes=len(model), size=size, work=work)
        network.graph.copy_(torch.from_numpy(np.frombuffer(model, np.uint8).copy()))
        return network.eval()

    @property
    def model(self) -> bytes:
        """The graph as a file holds it."""
        content: bytes = self.graph.cpu().numpy().tobytes()
        return content

    def forward(self, low: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h * scale, w * scale)."""
        if not isinstance(low, Tensor):  # what traces a network hands it something else, on which the runtime crashes
            raise TypeError("an ONNX graph is no module that could be traced")
        if self.size is not None and tuple(low.shape[-2:]) != self.size:
            raise ValueError(f"the graph takes {self.size[0]}x{self.size[1]} pixels, this is {tuple(low.shape[-2:])}")
        if self._session is None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = whole_threads()
            options.log_severity_level = 3
            self._session = onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])
        restored = self._session.run(None, {"low": low.detach().cpu().float().contiguous().numpy()})[0]
        return torch.from_numpy(restored).to(low.device)

    def __deepcopy__(self, memo: Any) -> "GraphNetwork":
        return GraphNetwork.of(
            self.model, scale=self.scale, num_channels=self.num_channels, size=self.size, work=self.work
        )
