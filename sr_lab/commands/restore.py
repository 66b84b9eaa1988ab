"""Enlarge every image of a folder or object store, of a pattern of files, one image file, or a video.

    srlab restore input=photo.jpg output=large.png
    srlab restore input=photos output=large restorer=models:/demo@champion
    srlab restore input=photo.png output=large.png consistency=exact
    srlab restore input=photo.jpg output=poster.tif width=6000
    srlab restore input='photos/**/*.jpg' output=large scale=2.7 format=webp dry_run=true
    srlab restore input=clip.mp4 output=large.mkv
    srlab restore input=tcp://HOST:PORT output=- live=true scale=2 > large.ts
    srlab restore input=s3://BUCKET/low output=s3://BUCKET/high restorer=runs/NAME/best launcher=ray launcher.gpus=1

Each image is written once, whole, under its own name, as deep as it was (8 or 16 bit), with its transparency, colour
profile, EXIF, XMP and IPTC data; what is there already is left alone, so that the same command goes on where it was
stopped. An image that cannot be read or restored is named, the others are done all the same, and the exit code is 1.
OUTPUT/restore.json tells what made the images; another restorer does not write among them. Of one image file, output is
the file to write, in the format of its suffix, or a folder. What a format cannot hold is said: a line "caution:" on
standard error.

Of a video the picture is enlarged; sound, subtitles, chapters, attachments, times, rotation and colour tags stay as
they are, and the written file is compared with its input: what is lost is named, and the exit code 1. The same command
goes on where it was stopped or killed.

Of live video (live=true) frames come out in time rather than late: one that a restorer would make late is enlarged
classically, and smaller restorers (streaming.smaller) take over where that happens too often. SIGTERM writes what had
come in, and the exit code is 143; 1 where the source broke off.
"""

import functools
import sys
from typing import Any

from omegaconf import DictConfig

from sr_lab.base.words import counted
from sr_lab.config.compose import build
from sr_lab.workflows.restore import COLOURS, Loader, Planned, RestoredFolder, Wanted, find_device, restore
from sr_lab.workflows.video import LiveSettings, RestoredLive, RestoredVideo, VideoSettings, is_video


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    if cfg.live:
        return _tell_live(cfg, _live(cfg))
    result = call(cfg)
    if result.told:
        print(result.told, file=sys.stderr)
    for caution in result.cautions:
        print(f"caution: {caution}", file=sys.stderr)
    if isinstance(result, RestoredVideo):
        return _tell_video(cfg, result)
    for message in result.failures:
        print(f"srlab restore: {message}", file=sys.stderr)
    if result.failures:
        count = f"{counted(len(result.failures), 'image', of=result.num_images)} failed"
        print(f"srlab restore: {count}; the others are written", file=sys.stderr)
        return 1
    if cfg.dry_run:
        _tell(result)
        return 0
    print(f"{counted(result.num_images, 'image')}: {result.output}")
    if result.consistency:
        least = min(result.consistency.values())
        print(f"the files, degraded again, are their inputs up to {least:.1f} dB or better")
    return 0


def call(cfg: DictConfig) -> RestoredFolder | RestoredVideo:
    """Restores; see the module's docstring."""
    video = is_video(cfg.input)
    if video:
        _check_video(cfg, "a video")
    loader = _loader(cfg)
    settings = loader.settings
    wanted = _wanted(cfg, settings["scale"])
    if video:
        from sr_lab.workflows.restore_video import restore_video

        return restore_video(
            input=cfg.input,
            output=cfg.output,
            load=loader,
            made_by={key: settings[key] for key in ("name", "tile", "overlap", "seed", "num_steps", "scale")},
            device=functools.partial(find_device, cfg.device),
            wanted=wanted,
            settings=VideoSettings(**cfg.video, smoothing=cfg.smoothing),
            dry_run=cfg.dry_run,
            check_disk=cfg.check_disk,
        )
    kept = ("name", "overlap", "seed", "num_steps")
    asked = {"width": cfg.width, "height": cfg.height, "background": cfg.background, "strip": cfg.strip or None}
    return restore(
        input=cfg.input,
        output=cfg.output,
        load=loader,
        made_by={
            **{key: settings[key] for key in kept},
            "tile": settings["tile"] or 512,  # as it was recorded before tiles were chosen by engine
            "scale": wanted.scale,
            **asked,
            "quality": None if cfg.quality == Wanted.quality else cfg.quality,
            "network_scale": None if wanted.scale == settings["scale"] else settings["scale"],
            **_kept_of_consistency(settings),
        },
        device=functools.partial(find_device, cfg.device),
        format=cfg.format,
        wanted=wanted,
        launcher=build(cfg.launcher),
        dry_run=cfg.dry_run,
        check_disk=cfg.check_disk,
    )


def _live(cfg: DictConfig) -> RestoredLive:
    """Restores live video."""
    from sr_lab.workflows.restore_live import restore_live

    _check_video(cfg, "live video")
    if cfg.dry_run:
        raise ValueError("dry_run=true tells nothing of live video: leave it out")
    loader = _loader(cfg)
    names = list(cfg.streaming.smaller)
    scale = loader.settings["scale"]
    others = [Loader({**loader.settings, "name": str(name), "scale": int(scale)}) for name in names]
    live = {key: value for key, value in cfg.streaming.items() if key != "smaller"}
    return restore_live(
        input=str(cfg.input),
        output=str(cfg.output),
        load=[loader, *others],
        device=functools.partial(find_device, cfg.device),
        wanted=_wanted(cfg, scale),
        settings=VideoSettings(**cfg.video, smoothing=cfg.smoothing),
        live=LiveSettings(**live),
    )


def _tell_live(cfg: DictConfig, result: RestoredLive) -> int:
    """What became of a live stream; the exit code. Standard output may be the stream itself."""
    where = sys.stderr if str(cfg.output) == "-" else sys.stdout
    for caution in result.cautions:
        print(f"caution: {caution}", file=sys.stderr)
    print(f"{result.told}: {result.output}", file=where)
    for problem in result.problems:
        print(f"srlab restore: {problem}", file=sys.stderr)
    return 1 if result.problems else 0


def _check_video(cfg: DictConfig, what: str) -> None:
    """Refuses what is for images alone."""
    for key, usual in (
        ("format", None),
        ("background", None),
        ("strip", False),
        ("consistency", None),
        ("quality", 95),
    ):
        if cfg[key] != usual:
            other = {"format": "the suffix of output tells the container", "quality": "give video.crf"}
            remedy = other.get(key, "leave it out")
            raise ValueError(f"{key}={cfg[key]} is for images, and input={cfg.input} {what}: {remedy}")
    if not str(cfg.launcher._target_).endswith(".Local"):
        raise ValueError(f"input={cfg.input}: {what} is restored in this process: leave launcher out")


def _tell_video(cfg: DictConfig, result: RestoredVideo) -> int:
    """What was done, or would be, to a video; the exit code."""
    size = f"{result.size[0]}x{result.size[1]}"
    if cfg.dry_run:
        frames = f"about {counted(result.num_frames, 'frame')}" if result.num_frames else "an unknown number of frames"
        print(
            f"{frames} of {size}: about {result.needed_bytes / 1e9:.2f} GB are needed for {result.output}, "
            f"{result.free_bytes / 1e9:.1f} GB are free; nothing was written"
        )
        return 0
    reused = f", {result.reused} of them equal to the one before" if result.reused else ""
    there = ", is there" if result.was_there else ""
    print(f"{counted(result.num_frames, 'frame')} of {size}{reused}: {result.output}{there}")
    for problem in result.problems:
        print(f"srlab restore: {problem}", file=sys.stderr)
    return 1 if result.problems else 0


def _tell(result: RestoredFolder) -> None:
    """What a dry run found."""
    for image in result.planned:
        print(f"{image.name}: {_sizes(image)}{', is there' if image.done else ''}")
    done = sum(image.done for image in result.planned)
    free = "" if result.free_bytes is None else f", {result.free_bytes / 1e9:.1f} GB are free"
    print(
        f"{counted(result.num_images, 'image')}, {done} of them there: about {result.needed_bytes / 1e9:.2f} GB are "
        f"needed in {result.output}{free}; nothing was written"
    )


def _sizes(image: Planned) -> str:
    if image.size is None or image.target is None:
        return "its size is told when it is read"
    return f"{image.size[0]}x{image.size[1]} -> {image.target[0]}x{image.target[1]}"


def _loader(cfg: DictConfig) -> Loader:
    """What loads the restorer, and knows its scale."""
    name, keys = str(cfg.restorer), ("tile", "overlap", "tracking_uri", "seed", "num_steps", "engine")
    if name == "bicubic" and cfg.scale is None and cfg.width is None and cfg.height is None:
        raise ValueError("restorer=bicubic enlarges by any factor: give scale=...")
    if name == "bicubic" and cfg.engine not in (None, "auto"):
        raise ValueError(f"engine={cfg.engine}: bicubic is no network, leave it out")
    loader = Loader({"name": name, "scale": cfg.scale, **{key: cfg[key] for key in keys}})
    if cfg.consistency is None:
        if cfg.input_noise != 0 or cfg.degradation is not None:
            raise ValueError("degradation and input_noise are of consistent images: give consistency=exact, too")
        return loader
    scale = loader.settings["scale"]
    if cfg.scale not in (None, scale) or cfg.width is not None or cfg.height is not None or scale != int(scale):
        raise ValueError(
            f"consistency={cfg.consistency} holds for the size that the restorer itself makes, x{scale}: leave scale, "
            "width and height out, or give that factor"
        )
    cfg = cfg.copy()
    cfg.scale = scale  # the degradation's, too
    degradation = None if cfg.degradation is None else build(cfg.degradation)
    loader.settings |= {"consistency": cfg.consistency, "input_noise": cfg.input_noise, "degradation": degradation}
    return loader


def _kept_of_consistency(settings: dict[str, Any]) -> dict[str, Any]:
    """What changes the images of consistent restorers, as ``restore.json`` keeps it; None otherwise, as before."""
    degradation = settings.get("degradation")
    return {
        "consistency": settings.get("consistency"),
        "input_noise": settings.get("input_noise"),
        "degradation": None if degradation is None else degradation.fingerprint(),
    }


def _wanted(cfg: DictConfig, own: float) -> Wanted:
    sized = cfg.width is not None or cfg.height is not None
    if sized and cfg.scale is not None:
        raise ValueError(f"scale={cfg.scale} and width={cfg.width}, height={cfg.height}: give a scale or a size")
    if cfg.background is not None and cfg.background not in COLOURS:
        raise ValueError(f"background={cfg.background}: one of {', '.join(COLOURS)}")
    return Wanted(
        scale=cfg.scale if cfg.scale is not None or sized else own,
        width=cfg.width,
        height=cfg.height,
        background=None if cfg.background is None else COLOURS[cfg.background],
        strip=cfg.strip,
        quality=cfg.quality,
    )
