"""Enlarging every image of a folder or object store, of a pattern of files, or one image file."""

import dataclasses
import functools
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sr_lab.artefacts.shipped import DEFAULT_SCALE, shipped_scales
from sr_lab.base.compute import Here, Mapper, spread
from sr_lab.base.words import counted
from sr_lab.data.stores import Store
from sr_lab.images.extras import DROPPED, Extras, dropped_sentences
from sr_lab.images.formats import FORMATS, Form
from sr_lab.inference.batch import RestoreImages, Wanted, consistency_file, estimated_bytes
from sr_lab.inference.places import FRAMES_TO_VIDEO, RECORD, Places, find_places
from sr_lab.inference.prepared import COLOURS, note_of
from sr_lab.inference.stream import Restorer, target_of
from sr_lab.workflows.kept import kept_restorer, told_scale

__all__ = [
    "COLOURS", "Load", "Loader", "Planned", "RestoredFolder", "Wanted", "find_device", "network_scale", "restore",
    "wanted_images",
]  # fmt: skip

LOSSY = ("jpg", "avif")
"""Formats that have a quality."""
Load = Callable[[str], Restorer]
"""Loads a restorer onto a device; it is called in each process that restores."""


@dataclass(frozen=True)
class Planned:
    """One image of a dry run.

    Attributes:
        name: The low image.
        size: Its width and height, upright; None where its header does not tell.
        target: Width and height of the restored one; None likewise.
        done: Whether it is there already, made of the same input.
    """

    name: str
    size: tuple[int, int] | None
    target: tuple[int, int] | None
    done: bool

    @property
    def sizes(self) -> str:
        """Its size and that of the restored one."""
        if self.size is None or self.target is None:
            return "its size is told when it is read"
        return f"{self.size[0]}x{self.size[1]} -> {self.target[0]}x{self.target[1]}"


@dataclass(frozen=True)
class RestoredFolder:
    """What ``restore`` did, or would do.

    Attributes:
        output: Where the restored images are.
        num_images: How many images there are.
        failures: A message for each image that could not be read or restored.
        cautions: A sentence for each kind of thing beside the pixels that the images have and the output has not.
        planned: Of a dry run: what would become of each image; otherwise empty.
        needed_bytes: About how much room the images take that are not there yet; of photos in this format.
        free_bytes: How much room there is; None where nobody knows, as in an object store.
        consistency: Of consistent restorers: decibels of each written image, degraded again, against its input.
        told: What was measured for this restoration, in a sentence: the engine that was chosen; empty otherwise.
    """

    output: str
    num_images: int
    failures: tuple[str, ...]
    cautions: tuple[str, ...] = ()
    planned: tuple[Planned, ...] = ()
    needed_bytes: int = 0
    free_bytes: int | None = None
    consistency: Mapping[str, float] = field(default_factory=dict)
    told: str = ""

    @property
    def text(self) -> str:
        """What was written, or what a dry run found."""
        if not self.planned:
            rows = [f"{counted(self.num_images, 'image')}: {self.output}"]
            if self.consistency:
                least = min(self.consistency.values())
                rows.append(f"the files, degraded again, are their inputs up to {least:.1f} dB or better")
            return "\n".join(rows)
        rows = [f"{image.name}: {image.sizes}{', is there' if image.done else ''}" for image in self.planned]
        done = sum(image.done for image in self.planned)
        free = "" if self.free_bytes is None else f", {self.free_bytes / 1e9:.1f} GB are free"
        count = f"{counted(self.num_images, 'image')}, {done} of them there"
        needed = f"about {self.needed_bytes / 1e9:.2f} GB are needed in {self.output}{free}"
        return "\n".join([*rows, f"{count}: {needed}; nothing was written"])


class Loader:
    """Loads a restorer by its name and settings, once in each process; PyTorch is imported where nothing else does.

    Args:
        settings: What ``workflows.load.load_restorer`` takes, but for the device; with ``scale`` as it is wanted, or
            None. ``tile`` may be None.

    Attributes:
        settings: The same, with the scale of the restorer itself.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._artefact: Any = None
        self.settings = dict(settings)
        uri = settings.get("tracking_uri")
        scale = network_scale(settings["name"], settings["scale"], load=self._load, tracking_uri=uri)
        self.settings["scale"] = scale

    def __getstate__(self) -> dict[str, Any]:
        """What goes to other processes: they load for themselves."""
        return {**vars(self), "_artefact": None}

    def __call__(self, device: str) -> Restorer:
        """The restorer on a device: cpu or cuda."""
        settings = self.settings
        plain = settings.get("consistency") is None and settings.get("num_steps") is None
        if device == "cpu" and plain and settings["name"] != "bicubic" and settings["engine"] not in (None, "torch"):
            name, wanted = settings["name"], ("scale", "engine", "tile", "overlap")
            if (kept := kept_restorer(name, **{key: settings[key] for key in wanted})) is not None:
                return kept
        from sr_lab.workflows.load import load_restorer

        return load_restorer(**{**settings, "tile": settings["tile"] or 512}, device=device, artefact=self._artefact)

    def made_by(self, wanted: Wanted, *, background: str | None = None) -> dict[str, Any]:
        """The restorer's name and every setting that changes its images, as ``restore`` takes it.

        Args:
            wanted: Size and other settings of the images.
            background: Name of the colour under transparent images; None for none.
        """
        settings, degradation = self.settings, self.settings.get("degradation")
        return {
            **{key: settings[key] for key in ("name", "overlap", "seed", "num_steps")},
            "tile": settings["tile"] or 512,  # as it was recorded before tiles were chosen by engine
            "scale": wanted.scale,
            "width": wanted.width,
            "height": wanted.height,
            "background": background,
            "strip": wanted.strip or None,
            "quality": None if wanted.quality == Wanted.quality else wanted.quality,
            "network_scale": None if wanted.scale == settings["scale"] else settings["scale"],
            "consistency": settings.get("consistency"),
            "input_noise": settings.get("input_noise"),
            "degradation": None if degradation is None else degradation.fingerprint(),
        }

    def _load(self, scale: int | None) -> int:
        """The factor of what only loading tells; it is not loaded again."""
        from sr_lab.workflows.load import fetch_artefact

        name, uri = self.settings["name"], self.settings.get("tracking_uri")
        self._artefact = fetch_artefact(name, tracking_uri=uri, scale=scale)
        return int(self._artefact.scale)


def wanted_images(
    own: float,
    *,
    scale: float | None = None,
    width: int | None = None,
    height: int | None = None,
    background: str | None = None,
    strip: bool = False,
    quality: int = Wanted.quality,
) -> Wanted:
    """What images are to become by a restorer, where a size or a factor may be given instead of its own.

    Args:
        own: By how much the restorer itself enlarges.
        scale: Enlargement factor; None for the restorer's own.
        width: Columns instead; what is left open follows by the image's proportions.
        height: Rows instead.
        background: Name of a colour, of ``COLOURS``; see ``Wanted``.
        strip: See ``Wanted``.
        quality: See ``Wanted``.

    Raises:
        ValueError: If both a factor and a size are given, or the colour has no name here.
    """
    sized = width is not None or height is not None
    if sized and scale is not None:
        raise ValueError(f"scale={scale} and width={width}, height={height}: give a scale or a size")
    if background is not None and background not in COLOURS:
        raise ValueError(f"background={background}: one of {', '.join(COLOURS)}")
    return Wanted(
        scale=scale if scale is not None or sized else own,
        width=width,
        height=height,
        background=None if background is None else COLOURS[background],
        strip=strip,
        quality=quality,
    )


def restore(
    *,
    input: str | Path,
    output: str | Path,
    load: Load,
    made_by: Mapping[str, Any],
    device: Callable[[], str],
    format: str | None = None,
    wanted: Wanted | None = None,
    launcher: Mapper | None = None,
    dry_run: bool = False,
    check_disk: bool = True,
) -> RestoredFolder:
    """Restores each image once, whole, under its own name, as deep (8 or 16 bit) as it was, with what lies beside it.

    What was made of the same file (by its SHA-256) is left alone, so that the same call goes on where an earlier one
    was stopped; where the file has changed, its image is made again.

    Args:
        input: Folder or object store of the low images, searched with everything below it, one image file, or a
            pattern of files.
        output: Folder or object store of the restored ones; for one image also the file to write.
        load: Loads the restorer, once in each process that restores.
        made_by: The restorer's name and every setting that changes its images; kept in ``restore.json``.
        device: Tells where to compute, in the process that asks.
        format: Format of the restored images, of ``images.formats.FORMATS``; None takes the suffix of a file, else png.
        wanted: Size and other settings of the restored images; None for the restorer's scale.
        launcher: Where the work is done; None: in this process.
        dry_run: Whether to tell only what would be done.
        check_disk: Whether to refuse to begin where the images will not fit on the disk.

    Raises:
        ValueError: If the format is none of these or cannot hold an image, ``output`` is or lies in ``input`` or holds
            images that were made otherwise, there is no image, or the disk is too small.
        Stopped: If the process is asked to end; it says how many images are done.
    """
    mapper = launcher or Here()
    mapper.check_map()
    places = find_places(input, output, format)
    extras = Store(places.source).extras(places.names)
    _check_format(places, extras)
    restorer = load("cpu")
    metadata = getattr(restorer, "metadata", None) or {}
    wanted = wanted or Wanted(scale=restorer.scale)
    if wanted.quality != Wanted.quality and places.format not in LOSSY:
        raise ValueError(
            f"quality={wanted.quality} is of {' and '.join(LOSSY)}, and {places.format} is without loss: leave it out"
        )
    wanted = _noted(wanted, made_by, metadata)
    planned = _planned(places, extras, restorer, wanted)
    needed, free = _room(places, extras, planned)
    told = str(getattr(restorer, "told", ""))
    result = functools.partial(RestoredFolder, str(output), len(places.names), told=told)
    cautions = (*_cautions(places, extras, wanted), *_twins(places), *_alone(restorer, places))
    if dry_run:
        return result((), cautions, planned, needed, free)
    if check_disk and free is not None and needed > free:
        raise ValueError(
            f"output={output}: about {_size(needed)} are needed, and the disk has {_size(free)} left; give another "
            "output or format=jpg, or check_disk=false to try"
        )
    _claim(places, made_by, metadata)
    loaded = restorer if isinstance(mapper, Here) else None
    make = functools.partial(_work, places, load, device, wanted, loaded)
    sizes = {name: found.width * found.height / 1e6 for name, found in extras}
    weighed = sizes if all(sizes.values()) else None
    failures = spread(mapper, list(places.names), make, title="restore", sizes=weighed)
    held = _held(places) if made_by.get("consistency") else {}
    return result(failures, cautions, needed_bytes=needed, free_bytes=free, consistency=held)


def network_scale(
    name: str, wanted: float | None, *, load: Callable[[int | None], int] | None = None, tracking_uri: str | None = None
) -> float:
    """The factor by which a restorer itself enlarges, where ``wanted`` is to be reached.

    Args:
        name: Of a restorer. Of a model that comes with the package for several scales, the least is taken that is not
            below ``wanted``, or else the largest.
        wanted: Factor that is to be reached; None for any.
        load: Tells the factor of what has to be loaded for it, where it is given a scale or None; None loads it.
        tracking_uri: See ``load_restorer``.

    Raises:
        ValueError: If ``wanted`` is not a positive number.
    """
    if wanted is not None and (not isinstance(wanted, int | float) or wanted <= 0):
        raise ValueError(f"scale={wanted} must be a positive number")
    if name == "bicubic":
        return 1 if wanted is None else wanted
    if scales := shipped_scales(name):
        enough = [scale for scale in scales if scale >= (wanted or DEFAULT_SCALE)]
        return enough[0] if enough else scales[-1]
    if (told := told_scale(name)) is not None:
        return told
    load = load or functools.partial(_scale_of, name, tracking_uri)
    if wanted is not None and wanted == int(wanted):
        try:
            return load(int(wanted))
        except ValueError:
            pass  # of another scale than that: it is resampled
    return load(None)


def find_device(name: str = "auto") -> str:
    """``cpu`` or ``cuda``; PyTorch is asked only where there may be a GPU.

    Raises:
        ValueError: See ``workflows.load.choose_device``.
    """
    if name == "cpu" or (name == "auto" and sys.platform == "linux" and not Path("/dev/nvidiactl").exists()):
        return "cpu"
    from sr_lab.workflows.load import choose_device

    return choose_device(name).type


def _scale_of(name: str, tracking_uri: str | None, scale: int | None) -> int:
    from sr_lab.workflows.load import fetch_artefact

    return fetch_artefact(name, tracking_uri=tracking_uri, scale=scale).scale


def _work(
    places: Places, load: Load, device: Callable[[], str], wanted: Wanted, loaded: Restorer | None
) -> RestoreImages:
    """The restorer at work, made in the process that uses it; ``loaded`` is there already, on the CPU."""
    chosen = device()
    restorer = loaded if loaded is not None and chosen == "cpu" else load(chosen)
    return RestoreImages(places=places, restorer=restorer, device=chosen, wanted=wanted)


def _noted(wanted: Wanted, made_by: Mapping[str, Any], metadata: Mapping[str, Any]) -> Wanted:
    """With what makes the images, as their XMP packets tell it."""
    if wanted.note is not None or wanted.strip:
        return wanted
    return dataclasses.replace(wanted, note=note_of(str(made_by["name"]), metadata))


def _planned(
    places: Places, extras: list[tuple[str, Extras]], restorer: Restorer, wanted: Wanted
) -> tuple[Planned, ...]:
    work = RestoreImages(places=places, restorer=restorer, device="cpu", wanted=wanted)
    planned = []
    for name, found in extras:
        size = (found.width, found.height) if found.width and found.height else None
        target = None
        if size is not None:
            (tall, wide), _ = target_of(size[1], size[0], scale=wanted.scale, size=(wanted.height, wanted.width))
            target = (wide, tall)
        planned.append(Planned(name, size, target, work.is_done(name)))
    return tuple(planned)


def _room(places: Places, extras: list[tuple[str, Extras]], planned: tuple[Planned, ...]) -> tuple[int, int | None]:
    """Bytes that are needed, and those that are free."""
    needed = 0
    for (_, found), image in zip(extras, planned, strict=True):
        if not image.done and image.target is not None:
            form = Form(*image.target, found.bands, "alpha" in found.kinds, found.bits)
            needed += estimated_bytes(form, places.format)
    local = Store(places.target).local
    if local is None:
        return needed, None
    folder = next((each for each in (local, *local.parents) if each.exists()), Path("/"))
    return needed, shutil.disk_usage(folder).free


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _cautions(places: Places, extras: list[tuple[str, Extras]], wanted: Wanted) -> tuple[str, ...]:
    """What the images have and the output will not, or has in another way; nothing that was asked for."""
    holds, name = FORMATS[places.format].holds, places.format
    kinds = {"exif": "exif", "gps": "exif", "xmp": "xmp", "iptc": "iptc", "texts": "texts", "geotiff": "geo"}
    words = {
        kind: DROPPED[kind].split(", which ")[0] + f", which {name} cannot hold"
        + (f" ({', '.join(able)} can)" if (able := [each for each in FORMATS if part in FORMATS[each].holds]) else "")
        for kind, part in kinds.items()
        if part not in holds and not wanted.strip
    }  # fmt: skip
    if "icc" not in holds:
        words["icc"] = (
            f"a colour profile (ICC), which {name} cannot hold: 8-bit colours are converted to sRGB, others keep their "
            "values"
        )
    if wanted.background is not None and not FORMATS[name].alpha:
        words["alpha"] = "transparency (alpha), which is laid on the background"
    return dropped_sentences(extras, {kind: words[kind] for kind in ("alpha", "icc", *kinds) if kind in words})


def _twins(places: Places) -> tuple[str, ...]:
    if not places.doubles:
        return ()
    first = min(places.doubles)
    count = f"{counted(len(places.doubles), 'image', 'has/have')} the name of another one but for the suffix"
    return (f"{count}, and keep it: {first} becomes {places.stem(first)}.{places.format}",)


def _alone(restorer: Restorer, places: Places) -> tuple[str, ...]:
    """What is lost where a network for clips gets images."""
    if len(places.names) == 1 or not hasattr(restorer, "frames"):
        return ()
    return (
        "this network is for clips, and sees other frames as well: images are restored one by one, as clips of one "
        f"frame. If they are frames, make a video of them ({FRAMES_TO_VIDEO}), and give input=frames.mkv",
    )


def _check_format(places: Places, found: list[tuple[str, Extras]]) -> None:
    """Refuses a format that cannot hold what the headers tell of; what they do not tell fails image by image."""
    able = FORMATS[places.format]
    many = [name for name, extras in found if extras.bands not in (1, 3)]
    if many and places.file is not None and not able.any_bands:
        raise ValueError(f"{many[0]} has other than 1 or 3 bands, which {places.format} cannot hold: give a .tif file")
    deep = [name for name, extras in found if extras.bits > 8 and extras.bands in (1, 3)]
    if deep and able.bits == 8:
        what = "give format=png or tif" if places.file is None else "give an output that ends in .png or .tif"
        count = f"{counted(len(deep), 'image', 'has/have', of=len(found))} 16 bits"
        raise ValueError(f"{deep[0]}: {places.format} cannot hold 16 bits; {what} ({count})")


def _held(places: Places) -> dict[str, float]:
    """What holds of each written image after rounding; the least and the mean go into the record, too."""
    output, held = Store(places.target), {}
    for name in places.names:
        if (found := output.read_bytes(consistency_file(places, name))) is not None:
            held[name] = float(json.loads(found)["decibels"])
    record = output.read_bytes(places.record)
    if held and record is not None:
        worst = min(held, key=lambda name: held[name])
        told = {"least": held[worst], "image": worst, "mean": sum(held.values()) / len(held), "images": len(held)}
        output.write_bytes(places.record, json.dumps({**json.loads(record), "written": told}, indent=1).encode())
    return held


def _claim(places: Places, made_by: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Records what makes the images of the output; refuses to mix them with those of another restorer."""
    output, suffix = Store(places.target), places.format
    kept = {key: value for key, value in made_by.items() if key != "name"}
    weights = metadata.get("sha256", {}).get("weights.safetensors") or made_by["name"]
    record = {"restorer": weights, "format": suffix, **kept}
    for file in {RECORD, places.record}:
        found = output.read_bytes(file)
        before = record if found is None else json.loads(found)
        if changed := [
            f"{key} was {before.get(key)}, is {now}" for key, now in record.items() if before.get(key) != now
        ]:
            holder = output.uri if file == RECORD else f"{output.uri}/{places.file}"
            raise ValueError(f"{holder} was made otherwise: {'; '.join(changed)}. Give another output")
    if not output.has(places.record):
        stems = [places.stem(name) for name in places.names]
        if places.file is not None:
            there, wanted = {places.file} if output.has(places.file) else set(), [places.file]
        else:
            there, wanted = set(output.names()), [stem + end for stem in stems for end in (f".{suffix}", ".tif")]
        for name in wanted:
            if name in there:
                raise ValueError(f"{output.uri}/{name} is there already and not of srlab restore: give another output")
        output.write_bytes(places.record, json.dumps({**record, "name": made_by["name"]}, indent=1).encode())
