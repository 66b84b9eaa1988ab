"""A policy: what a candidate has to show before it may replace the champion."""

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any, ClassVar, Literal

from sr_lab.promotion.checks import Check, Evidence
from sr_lab.promotion.cost import RatioLimit
from sr_lab.promotion.measurement import Measurement, digest
from sr_lab.promotion.quality import QualityCheck

PROTOCOLLED = ("psnr", "ssim")
"""Metrics whose key names the channels that their protocol compares."""


class Holdout:
    """Images that no training and no selection has seen.

    Args:
        benchmark: Folder with ``HR/`` and ``LR/``, or with originals.
        degradation: Degradation that makes the low images of originals; None: the benchmark's own, or the field's
            bicubic. The gate does not look at it; it belongs to the policy, and to its hash, by its class and
            ``fingerprint()``.
    """

    def __init__(self, *, benchmark: str, degradation: object | None = None) -> None:
        self.benchmark = benchmark
        self.degradation = degradation

    def __str__(self) -> str:
        """The folder, and what makes its low images where they are made."""
        if self.degradation is None:
            return str(self.benchmark)
        return f"{self.benchmark} under {type(self.degradation).__name__} {digest(_describe(self.degradation))[:8]}"


class Policy:
    """The checks, all of which a candidate must pass, and the error that each may make.

    That all must pass is an intersection-union test: a candidate that is truly unacceptable in one respect is promoted
    with probability at most alpha, however many checks there are, so that each is made at alpha itself, uncorrected
    (Berger 1982). Repeating the gate until it passes is not covered: that is a selection, and needs fresh images.

    Args:
        name: Name of the policy, as people call it.
        alpha: Probability of promoting a candidate that one check should have stopped; in (0, 0.5).
        protocol: Named protocol under which the metrics have to be measured. A check's ``psnr`` or ``ssim`` is the
            protocol's: ``psnr_y`` under ``y_crop``; ``psnr_rgb``, of any number of bands, under ``rgb_crop``.
        holdout: Parts of the hold-out; the key names the slice ``benchmark_KEY``.
        checks: Checks by name, in the order in which they are reported.
        approval: Whether a person has to agree to what passes.
        accept_identical: Whether a candidate whose numbers equal the champion's on every image loses nothing (the same
            weights, exported for speed). False treats it as what it mostly is: one model measured twice.
        accept_unknown_history: Whether a candidate is judged although it is not known which images it, or public
            weights that it comes from, was trained on: the hold-out may be among them. What is known to have seen it is
            refused all the same.
        first_champion: What a first champion has to show beside the floors: ``beats_baseline``: that it is better than
            bicubic interpolation on the same images; ``passes_floors``: nothing.
        baseline_metric: Metric in which it has to be better; None: that of the first check.

    Raises:
        ValueError: if there is no check, alpha is out of range, two checks disagree about a metric's direction, or no
            check has the baseline's metric.
    """

    LATER: ClassVar[dict[str, object]] = {
        "first_champion": "beats_baseline",
        "baseline_metric": None,
        "accept_unknown_history": False,
    }
    """Settings that came later, with the values that leave a policy what it was: those are not part of its hash."""

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
        accept_unknown_history: bool = False,
        first_champion: Literal["beats_baseline", "passes_floors"] = "beats_baseline",
        baseline_metric: str | None = None,
    ) -> None:
        if not 0 < alpha < 0.5:
            raise ValueError(f"policy {name}: alpha={alpha} must lie between 0 and 0.5")
        if not checks:
            raise ValueError(f"policy {name} has no check: whatever comes would be promoted")
        self.name = name
        self.checks = {key: _of_protocol(check, protocol) for key, check in checks.items()}
        self.alpha = alpha
        self.protocol = protocol
        self.holdout = dict(holdout or {})
        self.approval = approval
        self.accept_identical = accept_identical
        self.accept_unknown_history = accept_unknown_history
        if first_champion not in ("beats_baseline", "passes_floors"):
            raise ValueError(
                f"policy {name}: first_champion={first_champion!r} must be 'beats_baseline' or 'passes_floors'"
            )
        self.first_champion = first_champion
        self.baseline_metric = _keyed(baseline_metric, protocol) if baseline_metric else None
        for key, check in self.checks.items():
            if isinstance(check, QualityCheck) and check.better != self.metrics[check.metric]:
                raise ValueError(
                    f"policy {name}, check {key}: {check.metric} is better {check.better} here and "
                    f"{self.metrics[check.metric]} in another check"
                )
        if self.baseline_metric is not None and self.baseline_metric not in self.metrics:
            known = ", ".join(self.metrics)
            raise ValueError(f"policy {name}: no check has baseline_metric={baseline_metric}; there are {known}")

    @property
    def metrics(self) -> dict[str, Literal["higher", "lower"]]:
        """Every metric that a check needs, and which of its values are better."""
        found: dict[str, Literal["higher", "lower"]] = {}
        for check in self.checks.values():
            if isinstance(check, QualityCheck):
                found.setdefault(check.metric, check.better)
        return found

    @property
    def baseline(self) -> tuple[str, Literal["higher", "lower"]] | None:
        """The metric in which a first champion has to beat bicubic, and its better direction; None: in none."""
        if self.first_champion == "passes_floors" or not self.metrics:
            return None
        metric = self.baseline_metric or next(iter(self.metrics))
        return metric, self.metrics[metric]

    def wants_more_runs(self, candidate: Measurement, champion: Measurement) -> bool:
        """Whether a check could still be decided by more paired runs of the two."""
        evidence = Evidence(candidate=candidate, champion=champion, alpha=self.alpha)
        checks = (check for check in self.checks.values() if isinstance(check, RatioLimit))
        return any(check.wants_more(evidence) for check in checks)

    def changes(self, original: "Policy") -> tuple[str, ...]:
        """What differs from ``original``, the policy as its file has it, in words.

        The hold-out is left out: each has one of their own, and the decision names it. A check is named whole where it
        was added or removed, otherwise by each value.
        """
        return tuple(_changes(_comparable(original), _comparable(self)))

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
    later = getattr(value, "LATER", {})
    values = {key: child for key, child in vars(value).items() if key not in later or child != later[key]}
    return {"class": name, **{key: _describe(child) for key, child in values.items()}}


def _keyed(metric: str, protocol: str) -> str:
    """The key under which a protocol records a metric whose values depend on it."""
    return f"{metric}_{protocol.partition('_')[0]}" if metric in PROTOCOLLED else metric


def _of_protocol(check: Check, protocol: str) -> Check:
    """The check with the protocol's own key of its metric."""
    if not isinstance(check, QualityCheck) or check.metric not in PROTOCOLLED:
        return check
    check = copy(check)
    check.metric = _keyed(check.metric, protocol)
    return check


def _comparable(policy: Policy) -> dict[str, Any]:
    """Every setting at its dotted place, without the hold-out; each check's class stands for the check."""
    document = {key: getattr(policy, key) for key in vars(policy) if key not in ("checks", "holdout")}
    flat: dict[str, Any] = {key: _describe(value) for key, value in document.items()}
    for key, check in policy.checks.items():
        flat[f"checks.{key}"] = type(check).__name__
        flat |= {f"checks.{key}.{name}": _describe(value) for name, value in vars(check).items()}
    return flat


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    whole = [key for key in {**before, **after} if (key in before) != (key in after) and key.count(".") == 1]
    for key in whole:
        yield f"{key} {'removed' if key in before else 'added'}"
    for key in {**before, **after}:
        if key in whole or any(key.startswith(f"{part}.") for part in whole):
            continue
        if before.get(key) != after.get(key):
            yield f"{key} {_shown(before.get(key))} -> {_shown(after.get(key))}"


def _shown(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
