"""Where images are taken from and written to: folders, stores, one file, or the files that a pattern names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sr_lab.base.words import counted
from sr_lab.data.stores import Store, open_stores
from sr_lab.images import IMAGE_SUFFIXES
from sr_lab.images.clips import is_video
from sr_lab.images.formats import ALIASES, FORMATS

RECORD = "restore.json"
MADE_OF = ".restored"
"""Folder below the output with a file for each image: the SHA-256 of what it was made of."""
FRAMES_TO_VIDEO = "ffmpeg -framerate 25 -pattern_type glob -i 'FOLDER/*.png' -c:v ffv1 frames.mkv"
"""What makes a video of frames, without loss."""
_WILD = "*?["


@dataclass(frozen=True)
class Places:
    """Where images are taken from and written to.

    Attributes:
        source: Folder or store of the low images.
        target: Folder or store of the restored ones.
        names: The low images, by their names below ``source``.
        format: Format of the restored ones: png, tif, webp, jpg or bmp.
        file: Name below ``target`` of the one file that is wanted; None: each image under its own name.
        doubles: Names that differ from another one by their suffix alone, which the restored image's name keeps.
    """

    source: str
    target: str
    names: tuple[str, ...]
    format: str
    file: str | None = None
    doubles: frozenset[str] = frozenset()

    def stem(self, name: str) -> str:
        """Name of the restored image without suffix: ``a/b`` of ``a/b.jpg``, or ``a/b_jpg`` where it has a twin."""
        path = PurePosixPath(name)
        stem = path.with_suffix("").as_posix()
        return f"{stem}_{path.suffix[1:]}" if name in self.doubles else stem

    @property
    def record(self) -> str:
        """File below ``target`` that tells what makes the images: all of the folder, or the one file."""
        return RECORD if self.file is None else f"{MADE_OF}/{self.file}.made.json"


def find_places(input: str | Path, output: str | Path, format: str | None = None) -> Places:
    """What ``input`` and ``output`` mean: folders or object stores, or one image and the file that is made of it.

    Args:
        input: Folder or object store, searched with everything below it, one image file, or a pattern of files as
            ``photos/**/*.jpg``.
        output: Folder or object store, or for one image the file to write; a folder's name ends with a slash where it
            could be taken for a file.
        format: Format of the restored images; None takes the suffix of a file, and png in a folder.

    Raises:
        ValueError: If there is no image, the two are in each other's way, or format and suffix differ.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"format={format}: one of {', '.join(FORMATS)}")
    given, wanted = Store(input), Store(output)
    if any(mark in str(input) for mark in _WILD) and not given.is_file() and not given.is_folder():
        return _globbed(str(input), wanted, output, format)
    if not given.is_file():
        if given.local is not None and not given.local.exists():
            raise ValueError(f"input={input}: no such file or folder")
        _check_folder(wanted, str(output), f"input={input} is a folder")
        source, _ = open_stores(input, output)
        names = source.images()
        return Places(str(input), str(output), tuple(names), format or "png", doubles=_doubles(names))
    folder, name = _parted(str(input))
    suffix = "" if str(output).endswith("/") or wanted.is_folder() else PurePosixPath(str(output)).suffix
    if not suffix and wanted.is_file():
        raise ValueError(f"output={output} is a file without suffix: give one that tells the format, or a folder")
    if not suffix:
        places = Places(folder, str(output), (name,), format or "png")
        made = {PurePosixPath(name).with_suffix(end).as_posix() for end in (f".{places.format}", ".tif")}
        _check_apart(given, [Store(f"{str(output).rstrip('/') or '/'}/{each}") for each in sorted(made)])
        return places
    told = ALIASES.get(suffix[1:].lower(), suffix[1:].lower())
    if told not in FORMATS:
        raise ValueError(
            f"output={output}: {suffix} is no format that can be written ({', '.join(FORMATS)}); a folder of that name "
            "ends with /"
        )
    if format not in (None, told):
        raise ValueError(f"format={format} is not the format of output={output}: leave format out, or change one")
    _check_apart(given, [wanted])
    target, file = _parted(str(output))
    return Places(folder, target, (name,), told, file)


def _globbed(pattern: str, wanted: Store, output: str | Path, format: str | None) -> Places:
    """The images that a pattern names, below the last folder that it names without wildcards."""
    parts = pattern.split("/")
    fixed = next(index for index, part in enumerate(parts) if any(mark in part for mark in _WILD))
    folder = "/".join(parts[:fixed]) or ("/" if pattern.startswith("/") else ".")
    source = Store(folder)
    root = source.root.rstrip("/")
    found = sorted(str(path)[len(root) :].lstrip("/") for path in source.fs.glob(f"{root}/{'/'.join(parts[fixed:])}"))
    names = [name for name in found if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]
    if not names:
        raise ValueError(f"input={pattern}: no image ({', '.join(sorted(IMAGE_SUFFIXES))}) is named so")
    _check_folder(wanted, str(output), f"input={pattern} names {counted(len(names), 'image')}")
    places = Places(folder, str(output), tuple(names), format or "png", doubles=_doubles(names))
    inputs = {Store(f"{folder}/{name}").uri for name in names}
    for name in names:
        if (made := f"{str(output).rstrip('/')}/{places.stem(name)}.{places.format}") in inputs:
            raise ValueError(f"the output would be {made}, which is an input: give another output")
    return places


def format_known(name: str) -> bool:
    """Whether a name ends like a file of a format that can be written, and not with a slash."""
    suffix = PurePosixPath(name).suffix[1:].lower()
    return not name.endswith("/") and ALIASES.get(suffix, suffix) in FORMATS


def _check_folder(wanted: Store, output: str, given: str) -> None:
    """Refuses to write many images into what is, or is named like, one file."""
    if wanted.is_folder():
        return
    if is_video(output):
        raise ValueError(
            f"output={output} is a video, and {given}: make a video of the frames first ({FRAMES_TO_VIDEO}), and give "
            "input=frames.mkv"
        )
    if wanted.is_file() or format_known(output):
        raise ValueError(f"output={output} is one file, and {given}: give a folder")


def _doubles(names: Sequence[str]) -> frozenset[str]:
    stems: dict[str, list[str]] = {}
    for name in names:
        stems.setdefault(PurePosixPath(name).with_suffix("").as_posix(), []).append(name)
    return frozenset(name for same in stems.values() if len(same) > 1 for name in same)


def _parted(place: str) -> tuple[str, str]:
    """Folder and name of a file, whatever kind of store it is in."""
    folder, slash, name = place.rpartition("/")
    return (folder or slash or "."), name


def _check_apart(given: Store, made: list[Store]) -> None:
    for file in made:
        if file.lies_in(given):
            raise ValueError(f"the output would be {file.uri}, which is the input: give another output")
