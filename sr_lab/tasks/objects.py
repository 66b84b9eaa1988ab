"""Finding faces and objects: what a detector finds after restoration, of what it finds in the original."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from sr_lab.images.found import Reading
from sr_lab.tasks.base import Pixels, Quantity, Task
from sr_lab.tasks.detection import match
from sr_lab.tasks.detectors import Detector


class _Detection(Task):
    """A detector, and how its findings are counted."""

    def __init__(self, *, detector: Detector, name: str, missing: Literal["error", "skip"] = "error") -> None:
        self.detector, self.name, self.threshold = detector, name, detector.threshold
        super().__init__(missing=missing)

    def lacks(self) -> str | None:
        """What the detector lacks."""
        return self.detector.lacks()

    def read_pixels(self, pixels: Pixels) -> Reading:
        """Everything that may be something, with its confidence."""
        return self.detector.detect(pixels)


class Face(_Detection):
    """Finding faces.

    Args:
        detector: What finds them.
        name: What its numbers' keys begin with.
        missing: What happens where the detector's weights are not there: ``error`` or ``skip``.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "recall": Quantity(
            label="faces found",
            better="higher",
            definition="Share of the faces (known, else those that the detector finds in the original) that are found, "
            "with an overlap of half or more; of images with faces.",
        ),
        "precision": Quantity(
            label="faces that are there",
            better="higher",
            definition="Share of the faces found in an image that are there; 1 where none is found.",
        ),
    }

    def __init__(self, *, detector: Detector, name: str = "face", missing: Literal["error", "skip"] = "error") -> None:
        super().__init__(detector=detector, name=name, missing=missing)

    def score(self, reading: Reading, truth: Reading) -> Mapping[str, float]:
        """Recall (NaN where there is no face) and precision."""
        matches = match(self.certain(reading), truth)
        return {"recall": matches.recall, "precision": matches.precision}


class Objects(_Detection):
    """Finding objects, small ones apart.

    Args:
        detector: What finds them.
        small: Side of a square, in pixels of the original, below whose area an object is small.
        name: What its numbers' keys begin with.
        missing: What happens where the detector's weights are not there: ``error`` or ``skip``.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "recall": Quantity(
            label="objects found",
            better="higher",
            definition="Share of the objects (known, else those that the detector finds in the original) that are "
            "found, of the right class and with an overlap of half or more; of images with objects.",
        ),
        "small_recall": Quantity(
            label="small objects found",
            better="higher",
            definition="The same of objects below 32 x 32 pixels of the original, unless set otherwise.",
        ),
        "false": Quantity(
            label="false objects",
            better="lower",
            definition="Detections in an image that are of nothing that is there.",
            digits=".2f",
        ),
    }

    def __init__(
        self,
        *,
        detector: Detector,
        small: int = 32,
        name: str = "object",
        missing: Literal["error", "skip"] = "error",
    ) -> None:
        self.small = small
        super().__init__(detector=detector, name=name, missing=missing)

    def score(self, reading: Reading, truth: Reading) -> Mapping[str, float]:
        """Recall, that of small objects (NaN where there are none), and false detections."""
        matches = match(self.certain(reading), truth)
        pairs = zip(matches.found, truth, strict=True)
        small = [found is not None for found, thing in pairs if thing.area < self.small**2]
        return {
            "recall": matches.recall,
            "small_recall": sum(small) / len(small) if small else float("nan"),
            "false": float(len(matches.false)),
        }
