"""Detectors: a cascade for faces that ships with scikit-image, and any network of boxes as an ONNX file."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sr_lab.base.extras import install
from sr_lab.images.found import Found, Reading
from sr_lab.tasks.base import Pixels
from sr_lab.tasks.detection import without_doubles

Layout = Literal["yolo", "yolo_objectness", "boxes_scores"]
LEAST = 0.05
"""Confidence below which nothing is kept, for the curve over thresholds."""


class Detector(ABC):
    """A system that finds things of some classes.

    Attributes:
        threshold: Confidence from which on something counts as found; None where it gives none.
    """

    threshold: float | None = None

    @abstractmethod
    def lacks(self) -> str | None:
        """What is missing, with the remedy; None where nothing is."""

    @abstractmethod
    def detect(self, pixels: Pixels) -> Reading:
        """What is found in a picture (H, W, 3), 8 bits, RGB."""


class Cascade(Detector):
    """Frontal faces, by the cascade over local binary patterns that scikit-image ships; it gives no confidence.

    Args:
        least: Smallest face, in pixels of the picture that is read.
        most: Largest face; None: the picture's shorter side.
        step: Factor between the sizes that are looked for.
    """

    def __init__(self, *, least: int = 24, most: int | None = None, step: float = 1.2) -> None:
        self.least, self.most, self.step = least, most, step

    def lacks(self) -> str | None:
        """Nothing: the cascade comes with a package that sr_lab needs anyway."""
        return None

    def detect(self, pixels: Pixels) -> Reading:
        """Faces."""
        side = min(pixels.shape[:2])
        if side < self.least:
            return ()
        most = min(self.most or side, side)
        places = self._cascade.detect_multi_scale(
            img=pixels, scale_factor=self.step, step_ratio=1, min_size=(self.least, self.least), max_size=(most, most)
        )
        faces = [
            (
                float(place["c"]),
                float(place["r"]),
                float(place["c"] + place["width"]),
                float(place["r"] + place["height"]),
            )
            for place in places
        ]
        return without_doubles([Found(text="face", box=face) for face in faces])

    @cached_property
    def _cascade(self) -> Any:
        from skimage.data import lbp_frontal_face_cascade_filename
        from skimage.feature import Cascade as Filters

        return Filters(lbp_frontal_face_cascade_filename())


class OnnxDetector(Detector):
    """A network that gives boxes, as an ONNX file with one input (1, 3, S, S).

    The picture is shrunk or enlarged into the upper left corner of a square of the input's size, grey (114) elsewhere.
    ``layout`` says what comes out (N boxes, C classes; places in pixels of the square):

    - ``yolo``: one output, (1, 4 + C, N) or (1, N, 4 + C): middle, width, height, then a score a class (YOLOv8 on).
    - ``yolo_objectness``: (1, N, 5 + C) or (1, 5 + C, N): as before, with the score of any object in the fifth place,
      by which the others are multiplied (YOLOv5, v7, YOLOX with decoded boxes).
    - ``boxes_scores``: two outputs or more, corners (1, N, 4) and scores (1, N, C) or (1, N), as SSD and exports with
      boxes decoded give them; a third (1, N) of whole numbers is the class where scores are one a box.

    Doubles are removed by non-maximum suppression.

    Args:
        weights: The ONNX file.
        classes: Names, in the order of the network's.
        layout: What comes out.
        side: Side of the square, where the file leaves it open.
        top: What white is: 1 or 255.
        mean: Subtracted of each channel, after ``top``.
        deviation: What each channel is divided by.
        channels: Order of the channels.
        background: Whether the first class is the ground, as in SSD.
        threshold: Confidence from which on something counts as found.
        overlap: Of the suppression of doubles.
    """

    def __init__(
        self,
        *,
        weights: str | Path,
        classes: Sequence[str],
        layout: Layout = "yolo",
        side: int = 640,
        top: float = 1.0,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        deviation: Sequence[float] = (1.0, 1.0, 1.0),
        channels: Literal["rgb", "bgr"] = "rgb",
        background: bool = False,
        threshold: float = 0.25,
        overlap: float = 0.45,
    ) -> None:
        if layout not in ("yolo", "yolo_objectness", "boxes_scores"):
            raise ValueError(f"layout={layout}: yolo, yolo_objectness or boxes_scores")
        if not LEAST <= threshold < 1 or not 0 < overlap < 1:
            raise ValueError(f"threshold={threshold}, overlap={overlap}: from {LEAST} and from 0, below 1")
        if not classes:
            raise ValueError(f"{weights}: name the classes that it finds, in its order: classes=[A,B]")
        self.weights, self.classes, self.layout = Path(weights), list(classes), layout
        self.side, self.top, self.channels, self.background = side, top, channels, background
        self.mean, self.deviation = list(mean), list(deviation)
        self.threshold: float | None = threshold
        self.overlap = overlap

    def lacks(self) -> str | None:
        """ONNX Runtime, or the file."""
        if find_spec("onnxruntime") is None:
            return f"onnxruntime is not installed: {install('onnxruntime')}"
        if not self.weights.is_file():
            return f"there is no file {self.weights}: give the detector's ONNX file as weights=PATH"
        return None

    def detect(self, pixels: Pixels) -> Reading:
        """What is found, from confidence 0.05 on.

        Raises:
            ValueError: if what comes out is not what ``layout`` says.
        """
        session = self._session
        name, shape = session.get_inputs()[0].name, session.get_inputs()[0].shape
        side = shape[-1] if isinstance(shape[-1], int) and shape[-1] > 0 else self.side
        square, factor = self._square(pixels, side)
        outputs = session.run(None, {name: square})
        boxes, scores, labels = self._decoded(outputs)
        found = []
        for box, score, label in zip(boxes, scores, labels, strict=True):
            if score < LEAST:
                continue
            ends = np.clip(box / factor, 0, [pixels.shape[1], pixels.shape[0]] * 2)
            place = (float(ends[0]), float(ends[1]), float(ends[2]), float(ends[3]))
            found.append(Found(text=self.classes[int(label)], box=place, confidence=float(min(score, 1.0))))
        return without_doubles(found, overlap=self.overlap)

    def _square(self, pixels: Pixels, side: int) -> tuple[NDArray[np.float32], float]:
        height, width = pixels.shape[:2]
        factor = side / max(height, width)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        square = np.full((side, side, 3), 114, np.uint8)
        square[: size[1], : size[0]] = cv2.resize(pixels, size, interpolation=method)
        values = square[..., ::-1] if self.channels == "bgr" else square
        scaled = (values * (self.top / 255) - np.array(self.mean)) / np.array(self.deviation)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], dtype=np.float32), factor

    def _decoded(self, outputs: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Corners (N, 4), scores (N,) and classes (N,)."""
        if self.layout == "boxes_scores":
            return self._corners(outputs)
        extra = 5 if self.layout == "yolo_objectness" else 4
        table, columns = np.asarray(outputs[0]), extra + len(self.classes)
        if table.ndim != 3 or table.shape[0] != 1 or columns not in table.shape[1:]:
            raise ValueError(
                f"{self.weights} gives {tuple(table.shape)}, layout={self.layout} for the classes given "
                f"({len(self.classes)}) is "
                f"(1, {columns}, N): give another layout=, or the classes that it has"
            )
        rows = table[0] if table.shape[2] == columns else table[0].T
        middle, sides, scores = rows[:, :2], rows[:, 2:4], rows[:, extra:]
        if extra == 5:
            scores = scores * rows[:, 4:5]
        return np.hstack([middle - sides / 2, middle + sides / 2]), scores.max(axis=1), scores.argmax(axis=1)

    def _corners(self, outputs: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        arrays = [np.asarray(output)[0] if np.ndim(output) > 1 else np.asarray(output) for output in outputs]
        boxes = next((array for array in arrays if array.ndim == 2 and array.shape[1] == 4), None)
        rest = [array for array in arrays if array is not boxes and boxes is not None and len(array) == len(boxes)]
        scores = next((array for array in rest if np.issubdtype(array.dtype, np.floating)), None)
        if boxes is None or scores is None:
            shapes = ", ".join(str(np.shape(output)) for output in outputs)
            raise ValueError(f"{self.weights} gives {shapes}: boxes_scores needs (1, N, 4) and (1, N, C) or (1, N)")
        if scores.ndim == 1:
            whole = next((array for array in rest if np.issubdtype(array.dtype, np.integer)), None)
            labels = np.zeros(len(boxes), int) if whole is None else whole - int(self.background)
            return boxes, scores, labels
        scores = scores[:, 1:] if self.background else scores
        if scores.shape[1] != len(self.classes):
            raise ValueError(f"{self.weights} has scores of {scores.shape[1]} classes, {len(self.classes)} are named")
        return boxes, scores.max(axis=1), scores.argmax(axis=1)

    @cached_property
    def _session(self) -> Any:
        from onnxruntime import InferenceSession, SessionOptions

        options = SessionOptions()
        options.log_severity_level = 3
        return InferenceSession(str(self.weights), options, providers=["CPUExecutionProvider"])
