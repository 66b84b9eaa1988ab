"""Distillation: a small network learns from a large one beside the photos."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_lab.losses.base import Loss


def attention(features: Tensor) -> Tensor:
    """Where a layer is active: mean square over the channels, as a vector of unit length (arXiv:1612.03928, eq. 2).

    It has no channels, so that layers of networks of any widths can be compared without weights of their own.

    Args:
        features: (B, C, h, w).

    Returns:
        (B, h * w) float32.
    """
    activity = features.float().square().mean(dim=1).flatten(1)
    unit: Tensor = activity / torch.linalg.vector_norm(activity, dim=1, keepdim=True).clamp(min=1e-12)
    return unit


def feature_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over the batch of the distance between two layers' attention, a scalar in [0, 2] (arXiv:1612.03928).

    Raises:
        ValueError: if the two are not of one height and width.
    """
    if student.shape[-2:] != teacher.shape[-2:]:
        raise ValueError(
            f"features of {tuple(student.shape[-2:])} and {tuple(teacher.shape[-2:])} pixels cannot be compared: name "
            "layers before the enlargement"
        )
    distance: Tensor = torch.linalg.vector_norm(attention(student) - attention(teacher), dim=1)
    return distance.mean()


class Distillation(Loss):
    """L1 to the teacher's image, plus the distance of features inside the two networks.

    The teacher restores the same low images; the target is not looked at. It is frozen and in evaluation mode, and no
    part of the owner's state: a checkpoint does not carry it.

    Args:
        teacher: any network of the student's scale and channels.
        features: layer of the student to layer of the teacher, by their dotted names, for example ``{body: body}``;
            empty for the image alone.
        feature_weight: factor of the mean feature distance, beside the image's 1.
        weight: see ``Loss``.

    Raises:
        ValueError: if the teacher has no such layer.
    """

    def __init__(
        self, *, teacher: nn.Module, features: Mapping[str, str], feature_weight: float = 0.01, weight: float = 1.0
    ) -> None:
        super().__init__(weight=weight)
        if features and feature_weight <= 0:
            raise ValueError(f"feature_weight={feature_weight}: must be positive; features={{}} leaves them out")
        self.features, self.feature_weight = dict(features), feature_weight
        self._teacher = (teacher.eval().requires_grad_(False),)
        self._of_teacher: dict[str, Tensor] = {}
        self._of_student: dict[str, Tensor] = {}
        self._low: Tensor | None = None
        for name in self.features.values():
            _layer(teacher, name, "the teacher").register_forward_hook(_keep(self._of_teacher, name))

    def attach(self, network: nn.Module) -> None:
        """Watches what the student gets, and its layers.

        Raises:
            ValueError: if it has no such layer, or another scale or number of channels than the teacher.
        """
        teacher = self._teacher[0]
        for word in ("scale", "num_channels"):
            ours, theirs = getattr(network, word, None), getattr(teacher, word, None)
            if ours != theirs:
                raise ValueError(f"the teacher has {word}={theirs}, the student {ours}: take another teacher")

        def keep_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if module.training:
                self._low = inputs[0]

        network.register_forward_pre_hook(keep_input)
        for name in self.features:
            _layer(network, name, "the student").register_forward_hook(_keep(self._of_student, name, training=True))

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """Scalar, in units of the value range plus ``feature_weight`` times that of ``feature_distance``.

        Raises:
            RuntimeError: if the student was not attached, or has not run since the last call.
        """
        if self._low is None:
            raise RuntimeError("distillation has not seen the student's input: attach() it to the network first")
        teacher, low = self._teacher[0].to(restored.device), self._low
        self._low = None
        with torch.no_grad():
            wanted = teacher(low).float()
        loss = F.l1_loss(restored.float(), wanted)
        if self.features:
            pairs = self.features.items()
            distances = [feature_distance(self._of_student.pop(own), self._of_teacher.pop(its)) for own, its in pairs]
            loss = loss + self.feature_weight * torch.stack(distances).mean()
        return loss


def _layer(network: nn.Module, name: str, whose: str) -> nn.Module:
    try:
        return network.get_submodule(name)
    except AttributeError as error:
        layers = ", ".join(child for child, _ in network.named_children())
        raise ValueError(f"features: {whose} has no layer {name!r}; it begins with {layers}") from error


def _keep(found: dict[str, Tensor], name: str, *, training: bool = False) -> Any:
    """A forward hook that stores the output; with ``training``, only in that mode."""

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if module.training or not training:
            found[name] = output

    return hook
