"""Restoring bursts and revisits: folders of frames of one scene, with masks, become one image each."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sr_lab.base.words import counted
from sr_lab.images import ImageError, write_image
from sr_lab.images.revisits import find_scenes, read_revisits
from sr_lab.inference.burst import restore_burst
from sr_lab.inference.restorers import Restorer
from sr_lab.workflows.load import load_restorer

__all__ = ["RestoredScene", "restore_scenes"]


@dataclass(frozen=True, kw_only=True)
class RestoredScene:
    """What became of a scene.

    Attributes:
        name: Of its folder.
        output: The image; None where there is none.
        used: Frames that were used.
        noise: Standard deviation of the noise that was counted with, in [0, 1].
        cautions: What to know of the image.
        problem: Why there is none; None where there is one.
    """

    name: str
    output: Path | None = None
    used: int = 0
    noise: float = 0.0
    cautions: tuple[str, ...] = ()
    problem: str | None = None


def restore_scenes(
    input: Path,
    output: Path,
    *,
    scale: int = 4,
    noise: float | None = None,
    refine: str | None = None,
    format: str = "png",
    device: str = "auto",
) -> list[RestoredScene]:
    """Makes one image of each scene; see ``sr_lab.inference.burst.restore_burst`` and ``sr_lab.images.revisits``.

    Args:
        input: Folder of a scene's frames, or of scenes.
        output: The image; a folder where ``input`` holds scenes: ``OUTPUT/SCENE.FORMAT``.
        scale: Enlargement factor.
        noise: Standard deviation of the frames' noise, in [0, 1]; None estimates it.
        refine: A restorer of scale 1, as ``load_restorer`` takes it, for what the solution leaves; None for none.
        format: Of the images of several scenes.
        device: Where to compute ``refine``.

    Returns:
        Each scene; one that could not be restored has its ``problem``.

    Raises:
        ImageError: If there is no scene.
        ValueError: If the scale is not a whole number from 2 on, the noise is negative, an image is there already, or
            ``refine`` enlarges.
    """
    if not isinstance(scale, int) or scale < 2:
        raise ValueError(f"scale={scale}: a burst is enlarged by a whole number, 2 or more")
    if noise is not None and noise < 0:
        raise ValueError(f"noise={255 * noise:g}: give the standard deviation in 8-bit levels, 0 or more")
    scenes = find_scenes(input)
    alone = scenes == [input]
    files = [output if alone else output / f"{scene.name}.{format}" for scene in scenes]
    for file in files:
        if file.exists():
            raise ValueError(f"output={file} is there already: give another one, or remove it")
    if alone and not output.suffix:
        raise ValueError(f"output={output}: {input} is one scene, give an image's name, as {output}.png")
    refiner: Restorer | None = None
    if refine is not None:
        loaded = load_restorer(refine, device=device)
        if loaded.scale != 1:
            raise ValueError(f"refine={refine} enlarges by {loaded.scale}: give a network of scale 1")
        refiner = loaded
    return [
        _restored(scene, file, scale=scale, noise=noise, refine=refiner)
        for scene, file in zip(scenes, files, strict=True)
    ]


def _restored(folder: Path, file: Path, *, scale: int, noise: float | None, refine: Restorer | None) -> RestoredScene:
    name = folder.resolve().name
    try:
        revisits = read_revisits(folder)
        masks = None if all(mask.all() for mask in revisits.masks) else revisits.masks
        found = restore_burst(
            revisits.frames, scale=scale, masks=masks, noise=noise, refine=refine, names=revisits.names
        )
        top = 2**revisits.bits - 1
        write_image(file, np.round(found.image * top).astype(np.uint16 if revisits.bits == 16 else np.uint8))
    except (ImageError, ValueError) as error:
        return RestoredScene(name=name, problem=str(error))
    cautions = []
    if left := [revisits.names[number] for number in range(len(revisits.names)) if number not in found.used]:
        cautions.append(f"{counted(len(left), 'frame')} left out, mostly masked: {', '.join(left)}")
    if found.unseen:
        cautions.append(f"{found.unseen:.1%} of the scene is seen by no frame and filled in smoothly")
    if len(found.used) == 1:
        cautions.append("one frame alone has no more detail than it shows")
    return RestoredScene(name=name, output=file, used=len(found.used), noise=found.noise, cautions=tuple(cautions))
