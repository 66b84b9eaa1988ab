"""What several restorers make of the images of a folder, picture by picture: for people to look at."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from sr_lab.base.randomness import digest64
from sr_lab.degradations.base import Degradation
from sr_lab.evaluation.benchmark import Benchmark
from sr_lab.evaluation.contact_sheet import picture
from sr_lab.evaluation.measuring import finished, raise_if_out_of_memory
from sr_lab.images import read_image, to_tensor
from sr_lab.images.folders import by_stem
from sr_lab.inference.consistency import LoadedRestorer
from sr_lab.inference.restorers import Restorer
from sr_lab.metrics.base import Context, PerImageMetric
from sr_lab.metrics.protocol import Protocol
from sr_lab.workflows.load import choose_device, load_restorer

ORIGINAL = "original"
WEIGHTS = "weights.safetensors"

__all__ = ["ORIGINAL", "Folder", "Shown", "cut_out", "load_restorers", "measured", "shown", "weights_of"]


class Folder:
    """Pictures that were restored elsewhere, under the names of the images.

    Args:
        place: The folder.
        scale: Enlargement factor of the pictures.
    """

    metadata: Mapping[str, Any] | None = None

    def __init__(self, place: Path, *, scale: int) -> None:
        self.place, self.scale = place, scale
        self.files = by_stem(place)

    def read(self, name: str) -> Tensor:
        """(1, C, H, W), values in [0, 1].

        Raises:
            ValueError: If there is no picture of that name, or it does not decode.
        """
        if name not in self.files:
            raise ValueError(f"{self.place} holds no picture of {name}: every image needs one of its name")
        return to_tensor(read_image(self.files[name]))


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One image.

    Attributes:
        name: Of the image.
        low: What the restorers got, (1, C, h, w), values in [0, 1].
        target: The original, (1, C, h * scale, w * scale); None where there is none.
        restored: By restorer, of that shape, values in [0, 1].
    """

    name: str
    low: Tensor
    target: Tensor | None
    restored: Mapping[str, Tensor]

    def pictures(self) -> dict[str, npt.NDArray[Any]]:
        """(H, W, 3), uint8, by restorer, and the original where there is one."""
        all_of_them = {**self.restored, **({} if self.target is None else {ORIGINAL: self.target})}
        return {name: picture(image.clamp(0, 1)) for name, image in all_of_them.items()}


def load_restorers(
    names: Sequence[str],
    *,
    scale: int | None = None,
    pictures: Mapping[str, Path] | None = None,
    device: torch.device | str = "auto",
    tracking_uri: str | None = None,
    tile: int = 512,
    engine: str | None = "auto",
    seed: int = 0,
) -> tuple[dict[str, LoadedRestorer | Folder], int]:
    """Restorers of one scale, and the scale.

    Args:
        names: As ``load_restorer`` takes them.
        scale: Enlargement factor; None: that of the first one that has one.
        pictures: Name to a folder of pictures that were restored elsewhere.
        device: Where to compute.
        tracking_uri: Of ``runs:/`` and ``models:/``.
        tile: Side of tiles.
        engine: What computes networks on a CPU.
        seed: Of generative networks.

    Raises:
        ValueError: If a name occurs twice, scales differ, or none is known.
    """
    given = [*names, *(pictures or {})]
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise ValueError(f"{twice[0]} is named twice: give each restorer once")
    if ORIGINAL in given:
        raise ValueError(f"{ORIGINAL} is what the originals are called: leave it out")
    found: dict[str, LoadedRestorer | Folder] = {}
    for name in sorted(names, key=lambda name: name == "bicubic"):  # bicubic takes the scale of the others
        try:
            found[name] = load_restorer(
                name, scale=scale, device=device, tracking_uri=tracking_uri, tile=tile, engine=engine, seed=seed
            )
        except ValueError as error:
            if name == "bicubic" and scale is None:
                raise ValueError("no restorer says by how much to enlarge: give scale=") from error
            raise
        scale = found[name].scale
    if scale is None:
        if not pictures:
            raise ValueError("there is nothing to show: name restorers=[A,B], or give pictures=")
        raise ValueError("pictures= alone do not say by how much they were enlarged: give scale=")
    for name, place in (pictures or {}).items():
        found[name] = Folder(Path(place), scale=scale)
    return {name: found[name] for name in given}, scale


def weights_of(restorer: object) -> str | None:
    """SHA-256 of a restorer's weights; None where it has none that are known."""
    metadata = getattr(restorer, "metadata", None) or {}
    return dict(metadata.get("sha256", {})).get(WEIGHTS)


def shown(
    restorers: Mapping[str, Restorer | Folder],
    images: Path,
    *,
    scale: int,
    protocol: Protocol,
    as_input: bool = False,
    degradation: Degradation | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    only: Sequence[str] | None = None,
    most: int | None = None,
    progress: str | None = None,
) -> Iterator[Shown]:
    """Restores image after image.

    Args:
        restorers: By name.
        images: Folder with ``HR/`` and ``LR/``, or with originals; with ``as_input`` with what restorers get.
        scale: Enlargement factor.
        protocol: How originals are cropped and made small.
        as_input: Whether the folder holds inputs, of which there are no originals.
        degradation: Makes the low images of originals; by default the field's bicubic.
        seed: Of a random degradation.
        device: Where the restorers expect their images.
        only: Names of the images; None: all.
        most: At most so many, evenly spread over the folder; None: all.
        progress: Title of the progress bar; None: there is none.

    Raises:
        ValueError: naming the image that cannot be read or restored.
    """
    device = choose_device(device)
    if as_input:
        if degradation is not None:
            raise ValueError("as_input=true: the images are what restorers get, so drop degradation=")
        files = by_stem(images)
        names = list(files)
    else:
        benchmark = Benchmark(images, scale=scale, protocol=protocol, degradation=degradation, seed=seed, device=device)
        names = [pair.name for pair in benchmark.pairs]
    if unknown := [name for name in only or () if name not in names]:
        raise ValueError(f"{images} holds no image {unknown[0]}")
    chosen = [name for name in names if only is None or name in only]
    if most is not None and most < len(chosen):
        chosen = [chosen[index * len(chosen) // most] for index in range(most)]
    for name in tqdm(chosen, desc=progress, unit="image", disable=None if progress else True):
        try:
            if as_input:
                low, target = to_tensor(read_image(files[name])).to(device), None
            else:
                low, target = benchmark.read(names.index(name))
            size = (*low.shape[:2], low.shape[2] * scale, low.shape[3] * scale)
            restored = {key: _restored(restorer, name, low, size) for key, restorer in restorers.items()}
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            raise_if_out_of_memory(error)
            raise ValueError(str(error) if name in str(error) else f"{name}: {error}") from error
        yield Shown(name=name, low=low, target=target, restored=restored)


def measured(metrics: Mapping[str, PerImageMetric], image: Shown, restored: Tensor, target: Tensor) -> dict[str, float]:
    """The metrics that can be measured of a picture, or of the same part of it and of the original."""
    found = {}
    for metric in metrics.values():
        if metric.reason is not None:
            continue
        try:
            with torch.inference_mode():
                found[metric.key] = min(float(metric.measure(restored, target, Context(low=image.low))), metric.ceiling)
        except (ValueError, RuntimeError):  # too small a part, too many channels
            continue
    return found


def cut_out(image: Shown, *, side: int, scale: int, where: str, seed: int) -> Shown:
    """The same part of every result, at most ``side`` wide and high, at whole low pixels.

    Args:
        image: Whole.
        side: Longest side in pixels of the results.
        scale: Enlargement factor.
        where: ``differing``, where the results' variance is largest; ``random``; or ``centre``.
        seed: Of ``random``.
    """
    height, width = image.low.shape[-2:]
    tall, wide = min(side // scale, height), min(side // scale, width)
    if where == "random":
        random = np.random.default_rng(digest64("cut", seed, image.name))
        top, left = int(random.integers(0, height - tall + 1)), int(random.integers(0, width - wide + 1))
    elif where == "centre":
        top, left = (height - tall) // 2, (width - wide) // 2
    else:
        spread = torch.stack([restored[0].mean(dim=0) for restored in image.restored.values()]).var(dim=0, correction=0)
        small = functional.avg_pool2d(spread[None, None], scale)
        means = functional.avg_pool2d(small, (tall, wide), stride=1)[0, 0]
        top, left = divmod(int(means.argmax()), means.shape[1])
    low = image.low[..., top : top + tall, left : left + wide]

    def part(full: Tensor) -> Tensor:
        return full[..., top * scale : (top + tall) * scale, left * scale : (left + wide) * scale].contiguous()

    return Shown(
        name=image.name, low=low, target=None if image.target is None else part(image.target),
        restored={name: part(restored) for name, restored in image.restored.items()},
    )  # fmt: skip


def _restored(restorer: Restorer | Folder, name: str, low: Tensor, size: tuple[int, ...]) -> Tensor:
    if isinstance(restorer, Folder):
        image = restorer.read(name).to(low.device)
        if image.shape[1] != size[1] and {image.shape[1], size[1]} == {1, 3}:
            image = image[:, :1].expand(-1, size[1], -1, -1) if size[1] == 3 else image.mean(dim=1, keepdim=True)
        if tuple(image.shape[-2:]) != size[-2:]:
            raise ValueError(
                f"{restorer.files[name]} is {image.shape[3]}x{image.shape[2]}, expected {size[3]}x{size[2]}"
            )
        return image
    with torch.inference_mode():
        return finished(restorer(low), low.new_empty(size)).clamp(0, 1)
