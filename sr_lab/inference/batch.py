"""Restoring images of a folder or object store: each is written once, whole, and what is there is left alone."""

import errno
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sr_lab.base.files import replacing, sha256
from sr_lab.base.memory import free_memory
from sr_lab.data.stores import Store
from sr_lab.images.codecs import write_rows
from sr_lab.images.extras import read_extras
from sr_lab.images.files import Picture, read_image, read_picture
from sr_lab.images.formats import FORMATS, Form, cannot_hold
from sr_lab.inference.places import MADE_OF, Places
from sr_lab.inference.prepared import prepared, restored_form
from sr_lab.inference.stream import Restorer, choose_tile, restored_bands, target_of


@dataclass(frozen=True)
class Wanted:
    """What an image is to become.

    Attributes:
        scale: Enlargement factor; any positive number.
        width: Columns instead; what is left open follows by the image's proportions.
        height: Rows instead.
        background: Red, green and blue, 0 to 255, under transparent images that the format holds no alpha of; None
            refuses them.
        strip: Whether all that lies beside the pixels is left out, but for the colour profile.
        quality: Of a lossy format, 1 to 100.
        note: What makes the images, for their XMP packets; None says nothing.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None
    background: tuple[int, int, int] | None = None
    strip: bool = False
    quality: int = 95
    note: str | None = None

    def __post_init__(self) -> None:
        """Refuses a quality that no format knows."""
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality={self.quality}: must lie in 1..100")


class RestoreImages:
    """Restores one named image after the other.

    Args:
        places: Where they are taken from and written to; one that was made of the same input (by SHA-256) is passed
            over.
        restorer: What enlarges.
        device: Where the restorer wants its input.
        wanted: What the images are to become; None for the restorer's own scale.
    """

    def __init__(
        self,
        *,
        places: Places,
        restorer: Restorer,
        device: Any,
        wanted: Wanted | None = None,
    ) -> None:
        self.source, self.target, self.places = Store(places.source), Store(places.target), places
        self.restorer, self.device = restorer, device
        self.wanted = wanted or Wanted(scale=restorer.scale)
        self._tile: int | None = None

    def __call__(self, name: str) -> None:
        """Restores the image called ``name``, as deep (8 or 16 bit) as it was.

        Images of other than 1 or 3 channels become TIFF, where no single file is wanted.

        Raises:
            ValueError: Naming the image, if it cannot be read or restored.
            OSError: If it cannot be written.
        """
        with tempfile.TemporaryDirectory(prefix="srlab-") as scratch:
            file = self.source.fetch(name, Path(scratch))
            digest, record = sha256(file), self._record(name)
            before = self.target.read_bytes(record)
            if self._is_there(name) and before is not None and json.loads(before) == digest:
                return
            try:
                picture = read_picture(file)
                made, form = self._form(name, picture)
                wanted = self.wanted
                picture = prepared(
                    picture, form, _format_of(made), background=wanted.background, strip=wanted.strip, note=wanted.note
                )
                if before is not None:
                    self.target.write_bytes(record, b"null")
                self._write(name, picture, made, form, Path(scratch))
            except (ValueError, RuntimeError, MemoryError) as error:
                text = str(error) or "memory does not suffice"
                text = text if self.source.local else text.replace(str(file), f"{self.source.uri}/{name}")
                raise ValueError(text if name in text else f"{name}: {text}") from error
        self.target.write_bytes(record, json.dumps(digest).encode())

    def is_done(self, name: str) -> bool:
        """Whether the image is there and was made of this input."""
        before = self.target.read_bytes(self._record(name))
        if not self._is_there(name) or before is None:
            return False
        with tempfile.TemporaryDirectory(prefix="srlab-") as scratch:
            return bool(json.loads(before) == sha256(self.source.fetch(name, Path(scratch))))

    def _record(self, name: str) -> str:
        return f"{MADE_OF}/{name if self.places.file is None else self.places.file}.json"

    def _is_there(self, name: str) -> bool:
        if self.places.file is not None:
            return self.target.has(self.places.file)
        stem = self.places.stem(name)
        return any(self.target.has(file) for file in {f"{stem}.{self.places.format}", f"{stem}.tif"})

    def _form(self, name: str, picture: Picture) -> tuple[str, Form]:
        """File of the restored image, and what it needs of its format."""
        bands = picture.pixels.shape[2] - picture.alpha
        format, one = self.places.format, self.places.file
        if bands not in (1, 3) and one is None:
            format = "tif"
        size, _ = self._target(picture)
        form = restored_form(picture, size, format, background=self.wanted.background)
        if (why := cannot_hold(format, form)) is not None:
            raise ValueError(f"{name}: {format} {why}")
        return one or f"{self.places.stem(name)}.{format}", form

    def _target(self, picture: Picture) -> tuple[tuple[int, int], tuple[float, float]]:
        height, width = picture.pixels.shape[:2]
        return target_of(height, width, scale=self.wanted.scale, size=(self.wanted.height, self.wanted.width))

    def _write(self, name: str, picture: Picture, made: str, form: Form, scratch: Path) -> None:
        """Restores and encodes band by band, and looks whether the file has the size that it should have."""
        format, local = _format_of(made), self.target.local
        target = self._target(picture)
        if self._tile is None:
            self._tile = choose_tile(self.restorer, free_memory())
        bands = restored_bands(
            picture.pixels, self.restorer, alpha=picture.alpha, target=target, device=self.device, tile=self._tile
        )
        file = scratch / PurePosixPath(made).name if local is None else local / made
        if local is not None:
            check_room(file, form, format)
        with replacing(file, durable=False) as partial:
            write_rows(partial, bands, format, form, picture.metadata, quality=self.wanted.quality)
            with partial.open("rb") as stream:
                found = read_extras(stream)
            if found.width and (found.width, found.height) != (form.width, form.height):
                raise ValueError(
                    f"{name}: {found.width}x{found.height} pixels were written, not {form.width}x{form.height}"
                )
            if hasattr(self.restorer, "kept") and not picture.alpha:
                held = self.restorer.kept(read_image(partial), picture.pixels)
                self.target.write_bytes(consistency_file(self.places, name), json.dumps({"decibels": held}).encode())
        if local is None:
            self.target.put(file, made)


def consistency_file(places: Places, name: str) -> str:
    """File below the target that tells how consistent a written image is with its input."""
    return f"{MADE_OF}/{name if places.file is None else places.file}.consistency.json"


def estimated_bytes(form: Form, format: str) -> int:
    """About how large a photo's file is."""
    raw = form.width * form.height * (form.bands + form.alpha) * form.bits // 8
    return round(raw * FORMATS[format].share)


def check_room(file: Path, form: Form, format: str) -> None:
    """Refuses to begin what cannot fit on the disk.

    Raises:
        OSError: Saying that no space is left.
    """
    folder = next(each for each in file.parents if each.exists())
    if shutil.disk_usage(folder).free < estimated_bytes(form, format) // 4:
        raise OSError(errno.ENOSPC, "no space left on the disk", str(file))


def _format_of(name: str) -> str:
    suffix = PurePosixPath(name).suffix[1:].lower()
    return {"tiff": "tif", "jpeg": "jpg"}.get(suffix, suffix)
