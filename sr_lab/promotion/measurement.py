"""What was measured on a model: the numbers that the gate decides on, and nothing else."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sr_lab.base.words import counted

ALL = "all"
WORST_DECILE = "worst_decile"
RESERVED_SLICES = (ALL, WORST_DECILE)


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """The numbers of one image.

    Attributes:
        name: unique in the hold-out; an image that is measured under two degradations has two names.
        scene: what the image shows; images of one scene are dependent (frames of a clip, crops of a photo, one image
            under several degradations).
        slices: groups that the image belongs to, for example ``benchmark_Set14``, ``content_text``. ``all`` and
            ``worst_decile`` are the gate's own.
        metrics: metric key to value, for example ``psnr_y``. The consistency with the low image and the hallucination
            score are metrics like any other.
    """

    name: str
    scene: str
    slices: frozenset[str] = frozenset()
    metrics: Mapping[str, float]

    def __post_init__(self) -> None:
        for reserved in RESERVED_SLICES:
            if reserved in self.slices:
                raise ValueError(f"{self.name}: slice {reserved!r} is made by the gate; give yours another name")


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One model on one hold-out.

    Attributes:
        model: name and version, as people call it.
        holdout: what the images are, by content (a hash of the files): the champion's must be the same.
        protocol: the named protocol of the metrics.
        rows: one per image, in any order.
        resources: resource name to one value per run, for example ``latency_s``, ``memory_bytes``. Run k of the
            candidate and run k of the champion were made one after the other on the same machine and the same image.
        seen: names of the rows whose files this model has learnt from, or was chosen by among others (best checkpoint,
            early stopping, sweep); None: not known, which the gate refuses.
        unknown: public weights that this model comes from, whose own training images nobody has recorded; the gate
            refuses them unless the policy says otherwise.
        architecture: Hash of what the network is, without its weights; None where that is not known. Two models of one
            architecture do the same work.

    Raises:
        ValueError: if there is no image, or one name occurs twice.
    """

    model: str
    holdout: str
    protocol: str
    rows: Sequence[ImageRow]
    resources: Mapping[str, Sequence[float]] = field(default_factory=dict)
    seen: frozenset[str] | None = None
    architecture: str | None = None
    unknown: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError(f"{self.model}: no image was measured")
        name, count = Counter(row.name for row in self.rows).most_common(1)[0]
        if count > 1:
            raise ValueError(
                f"{self.model}: image {name!r} occurs {counted(count, 'time')}; give each image its own name"
            )

    def has(self, metric: str) -> bool:
        """Whether any image carries the metric."""
        return any(metric in row.metrics for row in self.rows)

    @property
    def num_scenes(self) -> int:
        """Number of independent scenes."""
        return len({row.scene for row in self.rows})

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, images in order of name; NaN and infinities are written as text."""
        return {
            "model": self.model,
            "holdout": self.holdout,
            "protocol": self.protocol,
            "rows": [
                {
                    "name": row.name,
                    "scene": row.scene,
                    "slices": sorted(row.slices),
                    "metrics": {key: _number(row.metrics[key]) for key in sorted(row.metrics)},
                }
                for row in sorted(self.rows, key=lambda row: row.name)
            ],
            "resources": {key: [_number(value) for value in self.resources[key]] for key in sorted(self.resources)},
            "seen": None if self.seen is None else sorted(self.seen),
            **({} if self.architecture is None else {"architecture": self.architecture}),
            **({"unknown": sorted(self.unknown)} if self.unknown else {}),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Measurement":
        """The measurement that ``as_dict`` wrote."""
        rows = [
            ImageRow(
                name=row["name"],
                scene=row["scene"],
                slices=frozenset(row["slices"]),
                metrics={key: float(value) for key, value in row["metrics"].items()},
            )
            for row in document["rows"]
        ]
        return cls(
            model=document["model"],
            holdout=document["holdout"],
            protocol=document["protocol"],
            rows=rows,
            resources={key: [float(value) for value in runs] for key, runs in document["resources"].items()},
            seen=None if document["seen"] is None else frozenset(document["seen"]),
            architecture=document.get("architecture"),
            unknown=tuple(document.get("unknown", ())),
        )


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A person's consent to one decision: these numbers under this policy, and no others.

    Attributes:
        by: who.
        decision: ``Decision.sha256`` of the decision that asked for it.
    """

    by: str
    decision: str


def digest(document: object) -> str:
    """SHA-256 of a JSON-able document, independent of the order of keys."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _number(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))
