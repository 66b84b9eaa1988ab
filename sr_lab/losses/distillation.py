"""Distillation: a small network learns from a large one beside the photos."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_lab.images.context import Context
from sr_lab.losses.base import Frozen, Loss
from sr_lab.losses.taps import Taps


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
        teacher: Any network of the student's scale and channels.
        features: Layer of the student to layer of the teacher, by their dotted names, as ``{body: body.3}``; empty for
            the image alone. None takes the ``body`` of two networks of one kind, and of any others the image alone.
        feature_weight: Factor of the mean feature distance, beside the image's 1.
        weight: See ``Loss``.

    Raises:
        ValueError: If the teacher has no such layer.
    """

    def __init__(
        self,
        *,
        teacher: nn.Module,
        features: Mapping[str, str] | None = None,
        feature_weight: float = 0.01,
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight)
        if features != {} and feature_weight <= 0:
            raise ValueError(f"feature_weight={feature_weight}: must be positive; features={{}} leaves them out")
        self.features, self.feature_weight = None if features is None else dict(features), feature_weight
        self._teacher = Frozen(teacher)
        self._of_teacher = Taps(teacher, list((features or {}).values()), whose="the teacher")

    @property
    def watched(self) -> Sequence[str]:  # type: ignore[override]
        """The student's layers that are compared."""
        return list(self.features or {})

    def attach(self, network: nn.Module) -> None:
        """Compares the two networks, and chooses the features where none were named.

        Raises:
            ValueError: If the student has another scale or number of channels than the teacher.
        """
        teacher = self._teacher.network
        for word in ("scale", "num_channels"):
            ours, theirs = getattr(network, word, None), getattr(teacher, word, None)
            if ours != theirs:
                raise ValueError(f"the teacher has {word}={theirs}, the student {ours}: take another teacher")
        if self.features is None:
            alike = type(network) is type(teacher) and isinstance(getattr(network, "body", None), nn.Sequential)
            self.features = {"body": "body"} if alike else {}
            self._of_teacher = Taps(teacher, list(self.features.values()), whose="the teacher")

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """What ``measure`` gives can be had of the two images alone by no means.

        Raises:
            ValueError: Always.
        """
        raise ValueError("distillation looks at the student's input: call measure() with it in the context")

    def measure(self, restored: Tensor, target: Tensor, context: Context) -> Tensor:
        """Scalar, in units of the value range plus ``feature_weight`` times that of ``feature_distance``.

        Raises:
            ValueError: If the context lacks the input or the features, or these cannot be compared.
        """
        if context.low is None:
            raise ValueError("distillation looks at the student's input, which this training does not show")
        teacher = self._teacher.on(restored.device)
        with torch.no_grad():
            wanted = teacher(context.low).float()
        loss = F.l1_loss(restored.float(), wanted)
        if self.features:
            theirs = self._of_teacher.take()
            pairs = [(context.features[own], theirs[its]) for own, its in self.features.items()]
            distances = [feature_distance(own, its) for own, its in pairs]
            loss = loss + self.feature_weight * torch.stack(distances).mean()
        return loss
