"""The outputs of layers inside a network, by their names."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn


class Taps:
    """Keeps what named layers of a network put out in its last pass in training mode, or in any.

    Args:
        network: The network; it is watched as long as it lives, its copies made before are not.
        names: Dotted names of its layers, as ``body`` or ``body.3``.
        whose: How errors call the network.
        training_only: Whether passes in evaluation mode, as validation makes, are left out.

    Raises:
        ValueError: If there is no such layer; the nearest are named.
    """

    def __init__(self, network: nn.Module, names: Sequence[str], *, whose: str, training_only: bool = False) -> None:
        self.whose = whose
        self.names = list(dict.fromkeys(names))
        self._found: dict[str, Any] = {}
        layers = dict(network.named_modules())
        for name in self.names:
            if not name or name not in layers:
                near = difflib.get_close_matches(name, [known for known in layers if known], n=3, cutoff=0.5)
                hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
                children = ", ".join(child for child, _ in network.named_children())
                raise ValueError(f"features: {whose} has no layer {name!r}: {hint}It is made of {children}")
            layers[name].register_forward_hook(self._keep(name, training_only))

    def take(self) -> Mapping[str, Tensor]:
        """The outputs since the last call, by name.

        Raises:
            ValueError: If a layer was not gone through, or put out anything but features (B, C, h, w).
        """
        found, self._found = self._found, {}
        for name in self.names:
            if name not in found:
                raise ValueError(f"features: {self.whose} does not go through its layer {name!r}: name one inside it")
            if not isinstance(found[name], Tensor) or found[name].ndim != 4:
                raise ValueError(f"features: layer {name!r} of {self.whose} puts out no features (B, C, h, w)")
        return found

    def _keep(self, name: str, training_only: bool) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if module.training or not training_only:
                self._found[name] = output

        return hook
