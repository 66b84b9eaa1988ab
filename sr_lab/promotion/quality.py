"""Checks on the quality of the images.

A difference is written as the candidate's gain: positive is better, whichever way the metric points.
"""

import math
from abc import abstractmethod
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from sr_lab.base.statistics import LEAST, Interval, cluster_means, mean_interval
from sr_lab.base.words import counted
from sr_lab.promotion.checks import ROUNDING, Check, Evidence, Reason, Stop, Verdict
from sr_lab.promotion.measurement import ALL, WORST_DECILE, ImageRow, Measurement

Better = Literal["higher", "lower"]
TooFew = Literal["fail", "allow"]
Array = NDArray[np.float64]


class QualityCheck(Check):
    """A demand on one metric over one slice of the images.

    Args:
        metric: Key in the rows, for example ``psnr_y``.
        better: Which values of it are better, ``higher`` or ``lower``.
        slice: Images that the check is made on: ``all``, ``worst_decile`` (the tenth of the images that both models
            together find hardest: chosen by the mean of the two, because a choice by one of them would favour the
            other), or a name in the rows, for example ``content_text``.
        min_scenes: Number of independent scenes below which the check fails: too little to know.
        where_measured: Whether the check is skipped if neither model has the metric at all; False fails.
    """

    def __init__(
        self, *, metric: str, better: Better, slice: str = ALL, min_scenes: int = 8, where_measured: bool = False
    ) -> None:
        if better not in ("higher", "lower"):
            raise ValueError(f"{metric}: better={better!r} must be 'higher' or 'lower'")
        if min_scenes < 2:
            raise ValueError(f"{metric} on {slice}: min_scenes={min_scenes} must be 2 or more")
        self.metric = metric
        self.better = better
        self.slice = slice
        self.min_scenes = min_scenes
        self.where_measured = where_measured

    @property
    def what(self) -> str:
        """Metric and slice in words."""
        return f"{self.metric} on {self.slice}"

    too_few: TooFew = "fail"

    def _select(self, candidate: Measurement, champion: Measurement | None) -> tuple[list[ImageRow], list[ImageRow]]:
        """The rows of the slice, in order of name, with a finite value each; raises what stops the check.

        The second list is empty where there is no champion.
        """
        models = [candidate] if champion is None else [candidate, champion]
        have = [model for model in models if model.has(self.metric)]
        if not have and self.where_measured:
            raise Stop("skip", f"neither model has {self.metric}, which the policy allows")
        tables: list[list[ImageRow]] = []
        for model in models:
            table = sorted((r for r in model.rows if self._covers(r)), key=lambda r: r.name)
            if not table:
                there = ", ".join(sorted({name for row in model.rows for name in row.slices})) or "none"
                text = f"no image of the hold-out is in slice {self.slice} (there are {there})"
                if self.too_few == "allow":
                    raise Stop("skip", f"{text}, which the policy allows")
                raise Stop("fail", f"{text}: add some, or take the check out")
            for row in table:
                value = row.metrics.get(self.metric)
                if value is None:
                    raise Stop("fail", f"{model.model} has no {self.metric} of {row.name}: {self._remedy(model)}")
                if not math.isfinite(value):
                    remedy = "; score it under the metric's ceiling" if math.isinf(value) else ""
                    raise Stop("fail", f"{self.metric} of {model.model} on {row.name} is {value}{remedy}")
            tables.append(table)
        if self.slice == WORST_DECILE:
            tables = self._hardest(tables)
        num_images, num_scenes = len(tables[0]), len({row.scene for row in tables[0]})
        if num_scenes < self.min_scenes and self.too_few == "fail":
            raise Stop(
                "fail",
                f"{self.what}: {counted(num_images, 'image')} of {counted(num_scenes, 'scene')} cannot decide; the "
                f"policy asks for {counted(self.min_scenes, 'scene')}: add images to the hold-out, or lower "
                f"min_scenes of this "
                "check",
                num_images=num_images,
                num_scenes=num_scenes,
            )
        return tables[0], tables[1] if champion is not None else []

    def _remedy(self, model: Measurement) -> str:
        """What to do about a missing value."""
        name, _, suffix = self.metric.rpartition("_")
        options = {"y": "y_crop", "rgb": "rgb_crop", "deep": "deep"}
        for other, option in options.items():
            if other != suffix and model.has(f"{name}_{other}"):
                named = model.protocol if model.protocol.startswith(option) else option  # deep_0_4095 is of deep
                return f"it was measured under another protocol, give policy.protocol={named} protocol={option}"
        if suffix == "y" and not model.has(self.metric):
            return (
                "luma exists for one or three channels only; for any number of bands give policy.protocol=rgb_crop "
                "protocol=rgb_crop, for 16 bits deep in both"
            )
        return "measure it again"

    def _covers(self, row: ImageRow) -> bool:
        return self.slice in (ALL, WORST_DECILE) or self.slice in row.slices

    def _hardest(self, tables: list[list[ImageRow]]) -> list[list[ImageRow]]:
        values = np.mean([[row.metrics[self.metric] for row in table] for table in tables], axis=0)
        order = np.argsort(values if self.better == "higher" else -values, kind="stable")
        chosen = sorted(order[: math.ceil(len(values) / 10)])
        return [[table[index] for index in chosen] for table in tables]


class _Compared(QualityCheck):
    """A claim about the mean gain over the champion, tested one-sided at the policy's alpha."""

    claim: str

    @property
    @abstractmethod
    def limit(self) -> float:
        """The gain that the true mean is claimed to exceed."""

    @property
    def num_digits(self) -> int:
        """Decimals that show the limit."""
        return 3 if self.limit == 0 else max(3, 1 - math.floor(math.log10(abs(self.limit))))

    def _judge(self, key: str, evidence: Evidence) -> Reason:
        assert evidence.champion is not None
        rows, references = self._select(evidence.candidate, evidence.champion)
        ours = np.array([row.metrics[self.metric] for row in rows])
        theirs = np.array([row.metrics[self.metric] for row in references])
        gains = ours - theirs if self.better == "higher" else theirs - ours
        scenes = cluster_means(gains.tolist(), [row.scene for row in rows])
        resolution = ROUNDING * float(max(np.abs(ours).max(), np.abs(theirs).max()))
        if len(scenes) < self.min_scenes:
            return self._judge_few(key, scenes, num_images=len(rows), alpha=evidence.alpha, resolution=resolution)
        interval = mean_interval(scenes, alpha=evidence.alpha, resolution=resolution)
        mean, low, high = float(interval.mean), float(interval.low), float(interval.high)
        base = f"{counted(len(rows), 'image')}, {counted(len(scenes), 'scene')}"
        verdict: Verdict = "fail"
        bounds: tuple[float | None, float | None] = (None, None)
        if np.abs(gains).max() <= resolution:
            if not evidence.identical:
                words, accepted = "other metrics differ", self.limit < 0
            else:
                accepted = evidence.accept_identical and self.limit < 0
                words = "as the policy accepts" if accepted else "the same weights, or one model measured twice"
            verdict = "pass" if accepted else "fail"
            text = f"{self.what} is the same on every image: {words} ({base})"
        elif bool(interval.degenerate):
            text = (
                f"{self.what}: gain {mean:+.{self.num_digits}f} in every scene alike, which no real model has ({base})"
            )
        else:
            verdict = "pass" if low > self.limit else "fail"
            bounds = (low, high)
            digits = self.num_digits
            text = (
                f"{self.what}: gain {mean:+.{digits}f}, {1 - 2 * evidence.alpha:.0%} interval [{low:+.{digits}f}, "
                f"{high:+.{digits}f}], {self.claim} {self.limit:+.{digits}f} ({base})"
            )
        return Reason(
            check=key, verdict=verdict, text=text, estimate=mean, low=bounds[0], high=bounds[1], limit=self.limit,
            num_images=len(rows), num_scenes=len(scenes),
        )  # fmt: skip

    def _judge_few(self, key: str, scenes: Array, *, num_images: int, alpha: float, resolution: float) -> Reason:
        """The burden turned round: of scenes too few to show that nothing is lost, a loss has to be shown."""
        mean, base = float(scenes.mean()), f"{counted(num_images, 'image')}, {counted(len(scenes), 'scene')}"
        facts = {"check": key, "estimate": mean, "num_images": num_images, "num_scenes": len(scenes)}
        digits = self.num_digits
        text = f"{self.what}: gain {mean:+.{digits}f}"
        few = f"{base}, too few for the policy's {self.min_scenes} to show that nothing is lost"
        interval = mean_interval(scenes, alpha=alpha, resolution=resolution) if len(scenes) > 1 else None
        if interval is None or bool(interval.degenerate):
            return Reason(verdict="skip", text=f"{text} ({few})", limit=self.limit, **facts)  # type: ignore[arg-type]
        low, high = float(interval.low), float(interval.high)
        shown = f"{1 - 2 * alpha:.0%} interval [{low:+.{digits}f}, {high:+.{digits}f}]"
        lost = high < self.limit
        said = f"a loss beyond {self.limit:+.{digits}f} is shown" if lost else "no loss beyond the limit is shown"
        return Reason(
            verdict="fail" if lost else "skip", text=f"{text}, {shown}: {said} ({few})", low=low, high=high,
            limit=self.limit, **facts,  # type: ignore[arg-type]
        )  # fmt: skip


class NonInferior(_Compared):
    """The candidate does not lose ``margin`` or more against the champion, shown with confidence 1 - alpha.

    Args:
        margin: Loss that nobody would mind, above zero, in the metric's unit.
        metric: Key of the metric; see ``QualityCheck``, as the others.
        better: Which values are better.
        slice: Images that it is made on.
        min_scenes: Number of independent scenes below which nothing can be shown.
        where_measured: Whether the check is skipped if neither model has the metric.
        too_few: What becomes of a slice of fewer than ``min_scenes``: ``fail``, or ``allow``: then the burden is turned
            round, and the check fails only where a loss beyond the margin is shown with confidence 1 - alpha. For
            slices of which a hold-out may hold few images, beside a check on all of them.
    """

    claim = "must exceed"
    LATER: ClassVar[dict[str, object]] = {"too_few": "fail"}

    def __init__(
        self,
        *,
        margin: float,
        metric: str,
        better: Better,
        slice: str = ALL,
        min_scenes: int = 8,
        where_measured: bool = False,
        too_few: TooFew = "fail",
    ) -> None:
        super().__init__(
            metric=metric, better=better, slice=slice, min_scenes=min_scenes, where_measured=where_measured
        )
        if too_few not in ("fail", "allow"):
            raise ValueError(f"{self.what}: too_few={too_few!r} must be 'fail' or 'allow'")
        self.too_few = too_few
        if not (margin > 0 and math.isfinite(margin)):
            raise ValueError(f"{self.what}: margin={margin} must be above zero (to demand a gain, use Superior)")
        self.margin = margin

    @property
    def limit(self) -> float:
        """Minus the margin."""
        return -self.margin


class Superior(_Compared):
    """The candidate gains more than ``gain`` over the champion, shown with confidence 1 - alpha.

    Args:
        gain: Gain that has to be shown, zero or more, in the metric's unit.
        metric: Key in the rows, for example ``psnr_y``.
        better: Which values of it are better, ``higher`` or ``lower``.
        slice: Images that the check is made on, as in ``QualityCheck``.
        min_scenes: Number of independent scenes below which the check fails: too little to know.
        where_measured: Whether the check is skipped if neither model has the metric.
    """

    claim = "must exceed"

    def __init__(
        self,
        *,
        metric: str,
        better: Better,
        gain: float = 0.0,
        slice: str = ALL,
        min_scenes: int = 8,
        where_measured: bool = False,
    ) -> None:
        super().__init__(
            metric=metric, better=better, slice=slice, min_scenes=min_scenes, where_measured=where_measured
        )
        if not (gain >= 0 and math.isfinite(gain)):
            raise ValueError(f"{self.what}: gain={gain} must be zero or more (to allow a loss, use NonInferior)")
        self.gain = gain

    @property
    def limit(self) -> float:
        """The gain."""
        return self.gain


class Floor(QualityCheck):
    """The candidate itself is good enough on this hold-out, champion or not.

    A fact about these images, without inference; for a metric that is better lower it is a ceiling.

    Args:
        value: Worst acceptable value.
        over: ``mean`` over scenes, or the ``worst`` image.
        metric: Key in the rows, for example ``psnr_y``.
        better: Which values of it are better, ``higher`` or ``lower``.
        slice: Images that the check is made on, as in ``QualityCheck``; the worst decile is the candidate's own.
        min_scenes: Number of independent scenes below which the check fails: too little to know.
        where_measured: Whether the check is skipped if neither the candidate nor the champion has the metric.
    """

    needs_champion = False

    def __init__(
        self,
        *,
        value: float,
        metric: str,
        better: Better,
        over: Literal["mean", "worst"] = "mean",
        slice: str = ALL,
        min_scenes: int = 8,
        where_measured: bool = False,
    ) -> None:
        super().__init__(
            metric=metric, better=better, slice=slice, min_scenes=min_scenes, where_measured=where_measured
        )
        if over not in ("mean", "worst"):
            raise ValueError(f"{self.what}: over={over!r} must be 'mean' or 'worst'")
        if not math.isfinite(value):
            raise ValueError(f"{self.what}: value={value} must be finite")
        self.value = value
        self.over = over

    def _judge(self, key: str, evidence: Evidence) -> Reason:
        champion = evidence.champion
        lost = champion is not None and champion.has(self.metric) and not evidence.candidate.has(self.metric)
        if lost and champion is not None:
            raise Stop("fail", f"{champion.model} has {self.metric} and {evidence.candidate.model} has not")
        rows, _ = self._select(evidence.candidate, None)
        values = [row.metrics[self.metric] for row in rows]
        scenes = cluster_means(values, [row.scene for row in rows])
        higher = self.better == "higher"
        if self.over == "mean":
            found, where = float(scenes.mean()), "mean"
        else:
            index = int(np.argmin(values) if higher else np.argmax(values))
            found, where = values[index], f"worst image ({rows[index].name})"
        text = (
            f"{self.what}: {where} {found:.4g}, must be {self.value:g} or {'more' if higher else 'less'} "
            f"({counted(len(rows), 'image')}, {counted(len(scenes), 'scene')})"
        )
        verdict: Verdict = "pass" if (found >= self.value if higher else found <= self.value) else "fail"
        return Reason(
            check=key, verdict=verdict, text=text, estimate=found, limit=self.value, num_images=len(rows),
            num_scenes=len(scenes),
        )  # fmt: skip


def beats(candidate: Measurement, baseline: Measurement, *, metric: str, better: Better, alpha: float) -> Reason:
    """Whether a first champion is better than what needs no model at all.

    From ``LEAST`` scenes on the mean gain has to be shown to be above zero, with confidence 1 - alpha; fewer scenes
    cannot show a mean, there the candidate has to be better in every one.

    Args:
        candidate: The model that wants to be champion.
        baseline: Bicubic interpolation, on the same images.
        metric: Key of the metric.
        better: Which values of it are better.
        alpha: Probability of passing a candidate that is not better.
    """
    theirs = {row.name: row.metrics.get(metric) for row in baseline.rows}
    pairs = [
        (row, value, other)
        for row in candidate.rows
        if (value := row.metrics.get(metric)) is not None and (other := theirs.get(row.name)) is not None
    ]
    what = f"{metric} against {baseline.model}"
    remedy = "policy.first_champion=passes_floors takes it all the same"
    if len(pairs) < len(candidate.rows) or not all(math.isfinite(v) and math.isfinite(o) for _, v, o in pairs):
        text = f"{what}: not measured of every image, so the candidate cannot be held against it; {remedy}"
        return Reason(check="baseline", verdict="fail", text=text)
    gains = [(value - other) * (1 if better == "higher" else -1) for _, value, other in pairs]
    scenes = cluster_means(gains, [row.scene for row, _, _ in pairs])
    mean, base = float(scenes.mean()), f"{counted(len(pairs), 'image')}, {counted(len(scenes), 'scene')}"
    low = high = None
    if len(scenes) < LEAST:
        passed = bool((scenes > 0).all())
        text = f"{what}: gain {mean:+.3f}, least of a scene {float(scenes.min()):+.3f}, must be above 0 in each"
    else:
        interval: Interval = mean_interval(scenes, alpha=alpha)
        if bool(interval.degenerate):
            passed, text = mean > 0, f"{what}: gain {mean:+.3f} in every scene, must be above 0"
        else:
            low, high = float(interval.low), float(interval.high)
            passed = low > 0
            text = f"{what}: gain {mean:+.3f}, {1 - 2 * alpha:.0%} interval [{low:+.3f}, {high:+.3f}], must exceed 0"
    if not passed:
        text += f": train it better, or {remedy}"
    return Reason(
        check="baseline", verdict="pass" if passed else "fail", text=f"{text} ({base})", estimate=mean, low=low,
        high=high, limit=0.0, num_images=len(pairs), num_scenes=len(scenes),
    )  # fmt: skip
