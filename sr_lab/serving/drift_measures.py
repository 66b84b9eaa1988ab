"""Drift of what comes in, as numbers for Prometheus: what the last window of sampled images showed."""

import math
from datetime import datetime
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from sr_lab.monitoring.comparison import Drift
from sr_lab.monitoring.features import INPUT
from sr_lab.monitoring.profile import Profile
from sr_lab.monitoring.repeated import Check
from sr_lab.monitoring.usability import Kind, Usability

KINDS = (*get_args(Kind), "repeated")
"""Values of the label ``kind``."""
DROPPED = ("busy", "large", "failed")
"""Values of the label ``reason``."""


class DriftMeasures:
    """The metrics of one server's incoming images; labels are the features of a profile and a few words.

    Args:
        registry: Where they are shown.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        own = registry
        self.sampled = Counter(
            "srlab_drift_images_sampled_total", "Incoming images whose features were kept.", registry=own
        )
        self.dropped = Counter(
            "srlab_drift_images_dropped_total",
            "Incoming images that were drawn and not measured: no time for them, too large, or a failure.", ("reason",),
            registry=own,
        )  # fmt: skip
        self.cpu = Counter("srlab_drift_cpu_seconds_total", "Processor time of measuring and comparing.", registry=own)
        self.reference = Gauge(
            "srlab_drift_reference", "Whether there is a reference for the version that is served.", registry=own
        )
        self.images = Gauge("srlab_drift_window_images", "Images of the last window.", registry=own)
        self.time = Gauge(
            "srlab_drift_window_timestamp_seconds", "When the last image of the last window came.", registry=own
        )
        self.unusable = Gauge(
            "srlab_drift_unusable_ratio", "Share of the last window that cannot be used, by kind.", ("kind",),
            registry=own,
        )  # fmt: skip
        self.shift = Gauge(
            "srlab_drift_feature_shift",
            "Wasserstein distance of a feature of the last window from the reference, in its robust deviations.",
            ("feature",), registry=own,
        )  # fmt: skip
        self.distance = Gauge(
            "srlab_drift_energy_distance", "Energy distance of the last window from the reference.", registry=own
        )
        self.p_value = Gauge(
            "srlab_drift_p_value", "Of the test of all features together, in the last window.", registry=own
        )
        self.alarm = Gauge(
            "srlab_drift_alarm", "Whether the alarm is on: drift, or images that cannot be used.", registry=own
        )
        for reason in DROPPED:
            self.dropped.labels(reason)
        for kind in KINDS:
            self.unusable.labels(kind)
        for name in INPUT:
            self.shift.labels(name).set(math.nan)
        self.p_value.set(math.nan)

    def show(self, window: Profile, drift: Drift | None, check: Check | None, usable: Usability | None) -> None:
        """Shows what was found in a window; without a check nothing was compared."""
        self.images.set(len(window) + len(window.facts["skipped"]))
        self.time.set(datetime.fromisoformat(str(window.facts["created"])).timestamp())
        if usable is not None:
            counts = {kind: len(names) for kind, names in usable.unusable.items()}
            counts["repeated"] = len(usable.repeated)
            for kind in KINDS:
                self.unusable.labels(kind).set(counts.get(kind, 0) / max(usable.num_files, 1))
        self.shift.clear()
        shifts = {} if drift is None else {shift.name: shift.wasserstein for shift in drift.shifts}
        for name, value in {**dict.fromkeys(INPUT, math.nan), **shifts}.items():
            self.shift.labels(name).set(value)
        self.distance.set(math.nan if drift is None else drift.test.distance)
        self.p_value.set(math.nan if drift is None else drift.test.p_value)
        self.alarm.set(check is not None and check.alarm)
