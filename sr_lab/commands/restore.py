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
from sr_lab.commands._telling import caution, complain
from sr_lab.config.call import called
from sr_lab.config.compose import build
from sr_lab.workflows.restore import Loader, RestoredFolder, Wanted, find_device, restore, wanted_images
from sr_lab.workflows.video import LiveSettings, RestoredVideo, VideoSettings, is_video


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    if cfg.live:
        return _live(cfg)
    result = call(cfg)
    if result.told:
        print(result.told, file=sys.stderr)
    caution(result.cautions)
    if isinstance(result, RestoredVideo):
        print(result.text)
        complain("restore", result.problems)
        return 1 if result.problems else 0
    complain("restore", result.failures)
    if result.failures:
        count = counted(len(result.failures), "image", of=result.num_images)
        complain("restore", [f"{count} failed; the others are written"])
        return 1
    print(result.text)
    return 0


def call(cfg: DictConfig) -> RestoredFolder | RestoredVideo:
    """Restores; see the module's docstring."""
    video = is_video(cfg.input)
    if video:
        _check_video(cfg, "a video")
    how = _how(cfg)
    loader, wanted = how["load"], how["wanted"]
    if not video:
        return called(restore, cfg, **how, made_by=loader.made_by(wanted, background=cfg.background))
    from sr_lab.workflows.restore_video import restore_video

    made_by = {key: loader.settings[key] for key in ("name", "tile", "overlap", "seed", "num_steps", "scale")}
    return called(restore_video, cfg, **how, made_by=made_by, settings=_settings(cfg))


def _live(cfg: DictConfig) -> int:
    """Restores live video, and says what became of it; standard output may be the stream itself."""
    from sr_lab.workflows.restore_live import restore_live

    _check_video(cfg, "live video")
    if cfg.dry_run:
        raise ValueError("dry_run=true tells nothing of live video: leave it out")
    how = _how(cfg)
    own = how["load"].settings
    smaller = [Loader({**own, "name": name, "scale": int(own["scale"])}) for name in cfg.streaming.smaller]
    how["load"] = [how["load"], *smaller]
    result = called(restore_live, cfg, **how, settings=_settings(cfg), live=called(LiveSettings, cfg.streaming))
    caution(result.cautions)
    print(f"{result.told}: {result.output}", file=sys.stderr if cfg.output == "-" else sys.stdout)
    complain("restore", result.problems)
    return 1 if result.problems else 0


def _settings(cfg: DictConfig) -> VideoSettings:
    return VideoSettings(**cfg.video, smoothing=cfg.smoothing)


def _check_video(cfg: DictConfig, what: str) -> None:
    """Refuses what is for images alone."""
    usual = {"format": None, "background": None, "strip": False, "consistency": None, "quality": Wanted.quality}
    remedies = {"format": "the suffix of output tells the container", "quality": "give video.crf"}
    for key in (key for key, value in usual.items() if cfg[key] != value):
        remedy = remedies.get(key, "leave it out")
        raise ValueError(f"{key}={cfg[key]} is for images, and input={cfg.input} {what}: {remedy}")
    if not str(cfg.launcher._target_).endswith(".Local"):
        raise ValueError(f"input={cfg.input}: {what} is restored in this process: leave launcher out")


def _how(cfg: DictConfig) -> dict[str, Any]:
    """What images, videos and live video are restored by: what loads the restorer, where it computes, what is made."""
    loader = _loader(cfg)
    wanted = called(wanted_images, cfg, own=loader.settings["scale"])
    return {"load": loader, "device": functools.partial(find_device, cfg.device), "wanted": wanted}


def _loader(cfg: DictConfig) -> Loader:
    """What loads the restorer, and knows its scale."""
    name, keys = cfg.restorer, ("scale", "tile", "overlap", "tracking_uri", "seed", "num_steps", "engine")
    if name == "bicubic" and cfg.scale is None and cfg.width is None and cfg.height is None:
        raise ValueError("restorer=bicubic enlarges by any factor: give scale=...")
    if name == "bicubic" and cfg.engine not in (None, "auto"):
        raise ValueError(f"engine={cfg.engine}: bicubic is no network, leave it out")
    loader = Loader({"name": name, **{key: cfg[key] for key in keys}})
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
    degradation = build(cfg.degradation)
    loader.settings |= {"consistency": cfg.consistency, "input_noise": cfg.input_noise, "degradation": degradation}
    return loader
