"""Reading text: what tesseract or RapidOCR reads in a picture, held against what is written there."""

import csv
import io
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

from sr_lab.base.extras import install
from sr_lab.images.found import Found, Reading
from sr_lab.tasks.base import Pixels, Quantity, Task
from sr_lab.tasks.text import lacking, text_errors


class Reader(ABC):
    """A system that reads text."""

    @abstractmethod
    def lacks(self) -> str | None:
        """What is missing, with the remedy; None where nothing is."""

    @abstractmethod
    def read(self, pixels: Pixels) -> Reading:
        """Words or lines in order of reading, of a picture (H, W, 3), 8 bits."""


class Tesseract(Reader):
    """Tesseract's LSTM engine, by its program (Smith 2007; Debian package tesseract-ocr).

    Args:
        language: Of its data: ``eng``.
        layout: Its page segmentation mode: 6 is one block of text, 3 a page of which nothing is known, 11 scattered
            words.
        seconds: Longest time for a picture.
    """

    def __init__(self, *, language: str = "eng", layout: int = 6, seconds: float = 120) -> None:
        self.language, self.layout, self.seconds = language, layout, seconds

    def lacks(self) -> str | None:
        """The program, or its data of the language."""
        if shutil.which("tesseract") is None:
            return "tesseract is not installed: apt-get install tesseract-ocr"
        listed = subprocess.run(["tesseract", "--list-langs"], capture_output=True, text=True, check=False).stdout
        if self.language not in listed.split():
            return f"tesseract has no data of {self.language}: apt-get install tesseract-ocr-{self.language}"
        return None

    def read(self, pixels: Pixels) -> Reading:
        """Words, with the confidence that the engine gives each.

        Raises:
            RuntimeError: if the program fails or takes longer than ``seconds``.
        """
        from PIL import Image

        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PPM")
        words = ["tesseract", "stdin", "stdout", "-l", self.language, "--psm", str(self.layout), "tsv"]
        try:
            done = subprocess.run(
                words, input=stream.getvalue(), capture_output=True, timeout=self.seconds, check=False,
                env=_one_thread(),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"tesseract took longer than {self.seconds:g} s") from None
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"tesseract failed: {said[-1] if said else done.returncode}")
        return tuple(_words(done.stdout.decode()))


class RapidOCR(Reader):
    """PP-OCR's detection and recognition as RapidOCR runs it with ONNX Runtime; its wheel holds the models.

    Args:
        threads: Of ONNX Runtime; 0: as many as it likes.
    """

    def __init__(self, *, threads: int = 0) -> None:
        self.threads = threads
        self._engine: Any = None

    def lacks(self) -> str | None:
        """The package, ONNX Runtime, or the models in the wheel."""
        if find_spec("rapidocr") is None:
            return f"rapidocr is not installed: {install('rapidocr')}"
        if find_spec("onnxruntime") is None:
            return f"onnxruntime is not installed: {install('onnxruntime')}"
        from importlib.resources import files

        models = [item.name for item in files("rapidocr").joinpath("models").iterdir() if item.name.endswith(".onnx")]
        kinds = [kind for kind in ("det", "rec", "cls") if not any(kind in name for name in models)]
        if kinds:
            return f"this rapidocr holds no model for {kinds[0]}: install 3.10 or later, whose wheel has them"
        return None

    def read(self, pixels: Pixels) -> Reading:
        """Lines from top to bottom, each with its confidence."""
        if self._engine is None:
            from rapidocr import RapidOCR as Engine

            own = {"Global.log_level": "critical"}
            if self.threads:
                own |= {"EngineConfig.onnxruntime.intra_op_num_threads": self.threads}  # type: ignore[dict-item]
            self._engine = Engine(params=own)
        read = self._engine(pixels[..., ::-1].copy())
        if read.boxes is None or read.txts is None:
            return ()
        lines = []
        for corners, text, score in zip(read.boxes, read.txts, read.scores, strict=True):
            xs, ys = corners[:, 0], corners[:, 1]
            box = (float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max()))
            lines.append(Found(text=str(text), box=box, confidence=float(score)))
        return tuple(in_lines(lines))


class Ocr(Task):
    """Reading text, and what of it is wrong.

    Without a known truth (``truth.json`` beside the benchmark) what is read in the original counts as the truth.

    Args:
        reader: What reads.
        name: What its numbers' keys begin with.
        sure: Confidence from which on a wrong character counts as invented.
        missing: What happens where the reader is not installed: ``error`` or ``skip``.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "cer": Quantity(
            label="character errors",
            better="lower",
            definition="Insertions, deletions and substitutions, at the least, that make the text that was read the "
            "true one, over the characters of the truth; runs of blanks and line breaks count as one blank.",
        ),
        "wer": Quantity(
            label="word errors",
            better="lower",
            definition="The same of whole words.",
        ),
        "invented": Quantity(
            label="invented characters",
            better="lower",
            definition="Wrong characters (substituted or inserted) of words that were read with confidence (0.8 unless "
            "set otherwise), in 100 characters of the truth: text that looks right and is not.",
            digits=".2f",
        ),
        "invented_digits": Quantity(
            label="invented digits",
            better="lower",
            definition="Digits among the invented characters, of an image.",
            digits=".2f",
        ),
    }

    def __init__(
        self, *, reader: Reader, name: str = "ocr", sure: float = 0.8, missing: Literal["error", "skip"] = "error"
    ) -> None:
        if not 0 < sure <= 1:
            raise ValueError(f"{name}: sure={sure} is a confidence, above 0 and at most 1")
        self.reader, self.name, self.sure = reader, name, sure
        super().__init__(missing=missing)

    def lacks(self) -> str | None:
        """What the reader or the comparison lacks."""
        return self.reader.lacks() or lacking()

    def read_pixels(self, pixels: Pixels) -> Reading:
        """Words or lines in order of reading."""
        return self.reader.read(pixels)

    def score(self, reading: Reading, truth: Reading) -> Mapping[str, float]:
        """Rates of errors; NaN where nothing is written."""
        if not truth:
            return dict.fromkeys(self.quantities, float("nan"))
        errors = text_errors(reading, truth, sure=self.sure)
        return {
            "cer": errors.cer,
            "wer": errors.wer,
            "invented": 100 * errors.invented / errors.true_characters,
            "invented_digits": float(errors.invented_digits),
        }


def in_lines(words: list[Found]) -> list[Found]:
    """Parts of lines in order of reading: from top to bottom, in a line from left to right.

    Two belong to one line where the middle of one lies within the height of the other.
    """
    lines: list[list[Found]] = []
    for word in sorted(words, key=lambda word: (word.box[1] + word.box[3]) / 2):
        middle = (word.box[1] + word.box[3]) / 2
        if lines and lines[-1][0].box[1] <= middle <= lines[-1][0].box[3]:
            lines[-1].append(word)
        else:
            lines.append([word])
    return [word for line in lines for word in sorted(line, key=lambda word: word.box[0])]


def _words(table: str) -> list[Found]:
    """The words of tesseract's table (level 5)."""
    rows = csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE)
    found = []
    for row in rows:
        if row["level"] != "5" or not (row["text"] or "").strip():
            continue
        left, top, width, height = (float(row[key]) for key in ("left", "top", "width", "height"))
        found.append(
            Found(
                text=row["text"].strip(), box=(left, top, left + width, top + height),
                confidence=min(1.0, max(0.0, float(row["conf"]) / 100)),
            )
        )  # fmt: skip
    return found


def _one_thread() -> dict[str, str]:
    """The environment with OpenMP held to a thread: several slow a small picture down."""
    import os

    return {**os.environ, "OMP_THREAD_LIMIT": "1"}
