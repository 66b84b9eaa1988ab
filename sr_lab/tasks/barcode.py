"""Reading QR and bar codes: how many are decoded, and how many say something that is not there."""

from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from typing import ClassVar, Literal

from sr_lab.base.extras import install
from sr_lab.images.found import Found, Reading
from sr_lab.tasks.base import Pixels, Quantity, Task


class Barcode(Task):
    """QR codes and bar codes, read by ZXing-C++.

    Args:
        name: What its numbers' keys begin with.
        missing: What happens where zxing-cpp is not installed: ``error`` or ``skip``.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "decoded": Quantity(
            label="codes decoded",
            better="higher",
            definition="Share of the codes in an image whose content is read as it is.",
        ),
        "wrong": Quantity(
            label="wrong codes",
            better="lower",
            definition="Contents read in an image that no code there has.",
            digits=".2f",
        ),
    }

    def __init__(self, *, name: str = "barcode", missing: Literal["error", "skip"] = "error") -> None:
        self.name = name
        super().__init__(missing=missing)

    def lacks(self) -> str | None:
        """The package."""
        return None if find_spec("zxingcpp") is not None else f"zxing-cpp is not installed: {install('zxingcpp')}"

    def read_pixels(self, pixels: Pixels) -> Reading:
        """The contents of the codes, confidence 1: their check digits and error correction agree."""
        import zxingcpp

        found = []
        for code in zxingcpp.read_barcodes(pixels[..., ::-1].copy()):
            place = code.position
            corners = (place.top_left, place.top_right, place.bottom_left, place.bottom_right)
            xs, ys = [corner.x for corner in corners], [corner.y for corner in corners]
            box = (float(min(xs)), float(min(ys)), float(max(xs)), float(max(ys)))
            found.append(Found(text=str(code.text), box=box))
        return tuple(sorted(found, key=lambda one: (one.box[1], one.box[0])))

    def score(self, reading: Reading, truth: Reading) -> Mapping[str, float]:
        """Share of the codes that were decoded (NaN where there are none), and contents that are not there."""
        there, read = Counter(one.text for one in truth), Counter(one.text for one in reading)
        right = sum((there & read).values())
        return {
            "decoded": right / len(truth) if truth else float("nan"),
            "wrong": float(len(reading) - right),
        }
