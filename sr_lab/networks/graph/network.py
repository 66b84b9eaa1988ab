"""A network whose weights are an ONNX graph: an export that is evaluated, compared and judged like any network."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sr_lab.base.threads import whole_threads
from sr_lab.networks.base import Network
from sr_lab.networks.graph.plain import Array
from sr_lab.networks.temporal.base import CausalNetwork, CausalState, Enlarge
from sr_lab.networks.temporal.flow import DISFlow, same_scene


class GraphNetwork(Network):
    """Runs an ONNX graph by ONNX Runtime (extra ``onnx``), on the CPU; it cannot be trained.

    Args:
        scale: Enlargement factor.
        num_channels: Channels of the images.
        num_bytes: Length of the graph's file, which is the one entry of the network's state.
        size: Height and width that the graph takes; None for any.
        work: Parameters of the network that the graph was written of, and its operations for a low-resolution pixel,
            which no counter sees in a graph; None where they are not known.

    Attributes:
        compute: What runs the graph, its inputs by name; None until it is needed: a session of ONNX Runtime.
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
        self.compute: Callable[..., Array] | None = None

    @classmethod
    def of(
        cls,
        model: bytes,
        *,
        scale: int,
        num_channels: int,
        size: tuple[int, int] | None = None,
        work: tuple[float, float] | None = None,
        **more: Any,
    ) -> "GraphNetwork":
        """The network of a graph's file; ``more`` are a subclass's own arguments."""
        network = cls(scale=scale, num_channels=num_channels, num_bytes=len(model), size=size, work=work, **more)
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
        return self.computed(low=low)

    def computed(self, **inputs: Tensor) -> Tensor:
        """What the graph makes of its inputs, on the device of the first one."""
        if self.compute is None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = whole_threads()
            options.log_severity_level = 3
            session = onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])
            self.compute = lambda **arrays: session.run(None, arrays)[0]
        arrays = {name: value.detach().cpu().float().contiguous().numpy() for name, value in inputs.items()}
        restored = self.compute(**arrays)
        return torch.from_numpy(restored).to(next(iter(inputs.values())).device)

    def __deepcopy__(self, memo: Any) -> "GraphNetwork":
        return type(self).of(
            self.model, scale=self.scale, num_channels=self.num_channels, size=self.size, work=self.work, **self.more
        )

    @property
    def more(self) -> dict[str, Any]:
        """A subclass's own arguments."""
        return {}


class GraphStep(GraphNetwork, CausalNetwork):
    """Runs the ONNX graph of a step, see ``onnx_step``, frame after frame; the flow is searched here.

    Other arguments are those of ``GraphNetwork``.

    Args:
        flow_enlarge: By what frames are enlarged before their flow is searched; see ``DISFlow``.
    """

    def __init__(
        self,
        *,
        scale: int,
        num_channels: int,
        num_bytes: int,
        size: None = None,
        work: tuple[float, float] | list[float] | None = None,
        flow_enlarge: int = 1,
    ) -> None:
        super().__init__(scale=scale, num_channels=num_channels, num_bytes=num_bytes, size=size, work=work)
        self.flow_enlarge = flow_enlarge

    @property
    def more(self) -> dict[str, Any]:
        """See ``GraphNetwork``."""
        return {"flow_enlarge": self.flow_enlarge}

    @property
    def motion(self) -> nn.Module:
        """See ``ClipNetwork``."""
        return DISFlow(enlarge=self.flow_enlarge)

    def forward(self, low: Tensor) -> Tensor:
        """Clips (B, T, C, h, w), or images (B, C, h, w)."""
        return CausalNetwork.forward(self, low)

    def step(
        self, low: Tensor, state: CausalState | None = None, *, enlarge: Enlarge | None = None
    ) -> tuple[Tensor, CausalState]:
        """See ``CausalNetwork``; the graph is one piece, so that ``enlarge`` is not asked."""
        if state is None:
            large = (low.shape[-2] * self.scale, low.shape[-1] * self.scale)
            before, last = low, low.new_zeros(*low.shape[:2], *large)
            flow, same = low.new_zeros(low.shape[0], 2, *low.shape[-2:]), low.new_zeros(low.shape[0], 1, 1, 1)
        else:
            before, last = state
            if torch.equal(low, before):
                return last, state
            flow, same = self.motion(low, before), same_scene(low, before)
        restored = self.computed(low=low, low_before=before, restored_before=last, flow=flow, same=same)
        return restored, (low, restored)
