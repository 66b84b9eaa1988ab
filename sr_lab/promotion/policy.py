"""A policy: what a candidate has to show before it may replace the champion."""

from collections.abc import Mapping
from typing import Any, Literal

from sr_lab.promotion.checks import Check
from sr_lab.promotion.cost import RatioLimit
from sr_lab.promotion.measurement import digest
from sr_lab.promotion.quality import QualityCheck


class Holdout:
    """Images that no training and no selection has seen.

    Args:
        benchmark: folder with ``HR/`` and ``LR/``, or with originals.
        degradation: makes the low images of originals; None: the benchmark's own, or the field's bicubic. The gate does
            not look at it; it belongs to the policy, and to its hash, by its class and ``fingerprint()``.
    """

    def __init__(self, *, benchmark: str, degradation: object | None = None) -> None:
        self.benchmark = benchmark
        self.degradation = degradation


class Policy:
    """The checks, all of which a candidate must pass, and the error that each may make.

    That all must pass is an intersection-union test: a candidate that is truly unacceptable in one respect is promoted
    with probability at most alpha, however many checks there are, so that each is made at alpha itself, uncorrected
    (Berger 1982). Repeating the gate until it passes is not covered: that is a selection, and needs fresh images.

    Args:
        name: what people call it.
        alpha: probability of promoting a candidate that one check should have stopped; in (0, 0.5).
        protocol: the named protocol under which the metrics have to be measured.
        holdout: parts of the hold-out; the key names the slice ``benchmark_KEY``.
        checks: in the order in which they are reported.
        approval: a person has to agree to what passes.
        accept_identical: a candidate whose numbers equal the champion's on every image loses nothing (the same weights,
            exported for speed). False treats it as what it mostly is: one model measured twice.

    Raises:
        ValueError: if there is no check, alpha is out of range, or two checks disagree about a metric's direction.
    """

    def __init__(
        self,
        *,
        name: str,
        checks: Mapping[str, Check],
        alpha: float = 0.05,
        protocol: str = "y_crop",
        holdout: Mapping[str, Holdout] | None = None,
        approval: bool = False,
        accept_identical: bool = False,
    ) -> None:
        if not 0 < alpha < 0.5:
            raise ValueError(f"policy {name}: alpha={alpha} must lie between 0 and 0.5")
        if not checks:
            raise ValueError(f"policy {name} has no check: whatever comes would be promoted")
        self.name = name
        self.checks = dict(checks)
        self.alpha = alpha
        self.protocol = protocol
        self.holdout = dict(holdout or {})
        self.approval = approval
        self.accept_identical = accept_identical
        for key, check in self.checks.items():
            if isinstance(check, QualityCheck) and check.better != self.metrics[check.metric]:
                raise ValueError(
                    f"policy {name}, check {key}: {check.metric} is better {check.better} here and "
                    f"{self.metrics[check.metric]} in another check"
                )

    @property
    def metrics(self) -> dict[str, Literal["higher", "lower"]]:
        """Every metric that a check needs, and which of its values are better."""
        found: dict[str, Literal["higher", "lower"]] = {}
        for check in self.checks.values():
            if isinstance(check, QualityCheck):
                found.setdefault(check.metric, check.better)
        return found

    @property
    def resources(self) -> dict[str, int]:
        """Every resource that a check needs, and the number of paired runs."""
        found: dict[str, int] = {}
        for check in self.checks.values():
            if isinstance(check, RatioLimit):
                found[check.resource] = max(check.min_runs, found.get(check.resource, 0))
        return found

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, everything that the decision depends on."""
        described = _describe(self)
        assert isinstance(described, dict)
        return described

    @property
    def sha256(self) -> str:
        """Hash of ``as_dict``: the order of the checks does not matter, every value does."""
        return digest(self.as_dict())


def _describe(value: object) -> object:
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, Mapping):
        return {str(key): _describe(child) for key, child in value.items()}
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if callable(fingerprint := getattr(value, "fingerprint", None)):
        return {"class": name, "fingerprint": str(fingerprint())}
    return {"class": name, **{key: _describe(child) for key, child in vars(value).items()}}
