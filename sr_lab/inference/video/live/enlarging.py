"""Enlarging the pictures of live video: by swscale at once, and by a model in their luma or colours."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sr_lab.images.yuv import PixelLayout, planes_to_rgb, rgb_to_planes
from sr_lab.inference.clips import CausalRestorer, StreamedRestorer
from sr_lab.inference.stream import Restorer, Target, restored_bands
from sr_lab.inference.video.facts import VideoFacts
from sr_lab.inference.video.library import load_av

_LIMITED, _TAGS = 1, {"bt601": 5, "bt709": 1, "bt2020": 9, "fcc": 4, "smpte240m": 7}


class LiveEnlarger:
    """Pictures of one size and 4:2:0 to pictures of the target's size.

    A model of luma restores the luma, the colour differences are enlarged by swscale's bicubic interpolation; a model
    of colours gets RGB. Both matrix and range stay what they are, so that a picture of a model can follow a classical
    one without a change of colour.

    Args:
        models: What restores, the first one first; bicubic interpolation (``anywhere``) is no model.
        facts: Of the source.
        target: Size and factors.
        device: Where the models want their images.
    """

    def __init__(self, models: Sequence[Restorer], *, facts: VideoFacts, target: Target, device: str = "cpu") -> None:
        self.models = [_in_order(each) for each in models if not getattr(each, "anywhere", False)]
        self.facts, self.target, self.device = facts, target, device
        make = load_av().video.reformatter.VideoReformatter
        self._layout = PixelLayout("yuv", 8, (1, 1), facts.layout.matrix, full=False)
        self._plain, self._large, self._small = make(), make(), make()

    def begin(self) -> None:
        """Forgets the pictures before."""
        for model in self.models:
            if isinstance(model, StreamedRestorer):
                model.state = None

    def usual(self, picture: Any) -> Any:
        """A picture as 4:2:0 of 8 bits, limited range, in the size of the first one; with black edges where need be."""
        full = self.facts.layout.full or int(picture.color_range) == 2 or picture.format.name.startswith("yuvj")
        if (picture.width, picture.height) != (self.facts.width, self.facts.height):
            picture = self._fitted(picture)
        if picture.format.name != "yuv420p" or full:
            picture = self._plain.reformat(
                picture,
                format="yuv420p",
                src_colorspace=self._matrix,
                dst_colorspace=self._matrix,
                src_color_range=2 if full else 1,
                dst_color_range=_LIMITED,
            )
        return picture

    def classical(self, picture: Any) -> Any:
        """A usual picture, enlarged by bicubic interpolation."""
        height, width = self.target[0]
        return self._large.reformat(picture, width=width, height=height, interpolation="BICUBIC", threads=1)

    def by_model(self, index: int, picture: Any, classical: Any) -> Any:
        """A usual picture, restored.

        Args:
            index: Which model.
            picture: The picture.
            classical: Its classical enlargement, which is written over: of a model of luma the luma alone.
        """
        model = self.models[index]
        classical.make_writable()  # without a change of size it is the decoder's own
        if getattr(model, "num_channels", 3) == 1:
            _samples(classical.planes[0])[:] = self._restored(model, _samples(picture.planes[0])[..., None])[..., 0]
            return classical
        low = planes_to_rgb(tuple(_samples(plane) for plane in picture.planes), self._layout)
        for plane, values in zip(
            classical.planes, rgb_to_planes(self._restored(model, low), self._layout), strict=True
        ):
            _samples(plane)[:] = values
        return classical

    @property
    def _matrix(self) -> int:
        return _TAGS[self.facts.layout.matrix]

    def _restored(self, model: Restorer, low: npt.NDArray[Any]) -> npt.NDArray[Any]:
        bands = list(restored_bands(low, model, alpha=False, target=self.target, device=self.device))
        return bands[0] if len(bands) == 1 else np.concatenate(bands)

    def _fitted(self, picture: Any) -> Any:
        """A picture of another size within one of the first's size, its sides in proportion."""
        facts = self.facts
        factor = min(facts.width / picture.width, facts.height / picture.height)
        wide, tall = (max(2, round(side * factor / 2) * 2) for side in (picture.width, picture.height))
        wide, tall = min(wide, facts.width), min(tall, facts.height)
        small = self._small.reformat(picture, width=wide, height=tall, format="yuv420p", interpolation="BICUBIC")
        made = load_av().VideoFrame(facts.width, facts.height, "yuv420p")
        left, top = (facts.width - wide) // 4, (facts.height - tall) // 4
        for number, (plane, part) in enumerate(zip(made.planes, small.planes, strict=True)):
            twice = 1 if number else 2
            samples, given = _samples(plane), _samples(part)
            samples[:] = 128 if number else 16
            rows, columns = given.shape
            samples[top * twice : top * twice + rows, left * twice : left * twice + columns] = given
        return made


def _in_order(model: Restorer) -> Restorer:
    """A model that takes one picture after the other; a causal one keeps its state between those that it gets."""
    return StreamedRestorer(model) if isinstance(model, CausalRestorer) else model


def _samples(plane: Any) -> npt.NDArray[np.uint8]:
    """A plane's samples without what pads its lines; what is written there is written into the plane."""
    lines = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return lines[:, : plane.width]
