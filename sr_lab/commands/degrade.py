"""Make low images and their manifest, make them again from it, look at a degradation, or estimate one.

    srlab degrade input=DIR output=DIR degradation=realesrgan scale=4 seed=1
    srlab degrade replay=OUT/manifest.parquet input=DIR output=DIR
    srlab degrade preview=IMAGE output=DIR degradation=bsrgan
    srlab degrade preview=CLIP output=DIR degradation=realbasicvsr
    srlab degrade estimate=DIR output=DIR scale=4

With clips=true the images of one folder are the frames of one clip: they share a draw, only their noise differs, and
a video codec predicts them from one another.

The first writes OUTPUT/LR, OUTPUT/HR where the degradation changes the target (realesrgan_sharp), and
OUTPUT/manifest.parquet: a row an image, with the hash of the original, settings and every drawn parameter. Originals
are cropped to a multiple of the scale; 16 bits stay 16. Replay gives the same files byte by byte, and exit code 1
where other library versions gave other bytes. Both go on where they were stopped, take object stores (s3://...) as
input and output, and make the images on a Ray cluster by launcher=ray. Preview writes preview.png and preview.html:
operation by operation, several draws, the severity ladder. Estimate reads noise, blur, JPEG quality and colour from
low images alone and writes preset.yaml, fit.json and fit.png. What the originals have beside their pixels (alpha, ICC
profile, EXIF, GPS, GeoTIFF tags) is in no output: a line "caution:" on standard error says so.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sr_lab.config.compose import build, plain
from sr_lab.config.presets import preset_name, severity_ladder
from sr_lab.config.tree import config_dir, options
from sr_lab.config.words import counted
from sr_lab.workflows.degrade import DegradedFolder, degrade
from sr_lab.workflows.estimate import Estimate, estimate
from sr_lab.workflows.preview import Preview, preview
from sr_lab.workflows.replay import ReplayedFolder, replay

Result = DegradedFolder | ReplayedFolder | Preview | Estimate


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    result = call(cfg)
    if isinstance(result, Preview):
        film = "" if result.film is None else f"\nin motion: {result.film}"
        print(f"picture: {result.picture}\npage: {result.page}{film}")
        return 0
    return _tell_estimate(result) if isinstance(result, Estimate) else _tell_folder(result)


def call(cfg: DictConfig) -> Result:
    """Does the one of the four things that is asked for; see the module's docstring."""
    given = [name for name in ("replay", "preview", "estimate") if cfg[name] is not None]
    if len(given) > 1 or (given and given != ["replay"] and cfg.input is not None):
        names = ([] if cfg.input is None else ["input"]) + given
        raise ValueError(f"{' and '.join(f'{name}=' for name in names)} are given: one at a time (replay takes input)")
    if not given and cfg.input is None:
        raise ValueError("nothing to do: give input=DIR, replay=MANIFEST with input=DIR, preview=IMAGE or estimate=DIR")
    calls: dict[str, Callable[[DictConfig], Result]] = {"replay": _replay, "preview": _preview, "estimate": _estimate}
    return calls[given[0]](cfg) if given else _degrade(cfg)


def _degrade(cfg: DictConfig) -> DegradedFolder:
    degradation = _degradation(cfg)
    return degrade(
        input=cfg.input,
        output=cfg.output,
        degradation=degradation,
        config=plain(cfg.degradation),
        seed=_seed(cfg),
        clips=cfg.clips,
        launcher=build(cfg.launcher),
    )


def _replay(cfg: DictConfig) -> ReplayedFolder:
    if cfg.input is None:
        raise ValueError("replay= needs input=DIR, the folder of the originals")
    if cfg.degradation is not None:
        raise ValueError("degradation= is given beside replay=: the manifest holds the degradation, leave it out")
    return replay(manifest=Path(cfg.replay), input=cfg.input, output=cfg.output, launcher=build(cfg.launcher))


def _preview(cfg: DictConfig) -> Preview:
    counts = {name: _count(cfg, name) for name in ("num_draws", "num_ladder", "side")}
    return preview(
        image=Path(cfg.preview),
        output=Path(cfg.output),
        degradation=_degradation(cfg),
        name=preset_name(cfg.degradation, scale=cfg.scale),
        ladder=severity_ladder(scale=cfg.scale),
        seed=_seed(cfg),
        **counts,
    )


def _estimate(cfg: DictConfig) -> Estimate:
    if cfg.degradation is not None:
        raise ValueError("degradation= is given beside estimate=: it is what is looked for, leave it out")
    num_images = None if cfg.num_images is None else _count(cfg, "num_images")
    result = estimate(
        folder=Path(cfg.estimate), output=Path(cfg.output), scale=_count(cfg, "scale"), num_images=num_images
    )
    build(OmegaConf.load(result.preset))
    return result


def _tell_folder(result: DegradedFolder) -> int:
    for caution in result.cautions:
        print(f"caution: {caution}", file=sys.stderr)
    for message in result.failures:
        print(f"srlab degrade: {message}", file=sys.stderr)
    if result.failures:
        count = f"{len(result.failures)} of {result.num_units} {result.unit}s failed"
        print(f"srlab degrade: {count}; the others are written", file=sys.stderr)
        return 1
    print(f"{counted(len(result.rows), 'low image')}: {result.low}")
    if not isinstance(result, ReplayedFolder):
        if result.num_changed_targets:
            print(f"{counted(result.num_changed_targets, 'changed target')}: {result.high}")
        print(f"manifest: {result.manifest}")
        return 0
    if result.differing:
        shown = ", ".join(result.differing[:5])
        print(
            f"srlab degrade: {counted(len(result.differing), 'file', 'differs/differ')} from the manifest's: "
            f"{shown}. It was made with "
            f"{result.versions}: install these versions",
            file=sys.stderr,
        )
        return 1
    print("every file is that of the manifest, byte by byte")
    return 0


def _tell_estimate(result: Estimate) -> int:
    fit = result.fit
    for name, reason in fit.skipped.items():
        print(f"srlab degrade: not used: {name}: {reason}", file=sys.stderr)
    for name, span in (("noise sigma", fit.noise), ("blur sigma", fit.blur), ("JPEG quality", fit.quality)):
        values = f"{span.low:.3g} to {span.high:.3g}, median {span.median:.3g}" if span.present else "none"
        unknown = f", {span.unknown} could not be told" if span.unknown else ""
        print(f"{name}: {values} ({span.share:.0%} of {counted(span.known, 'image')}{unknown})")
    print(f"preset: {result.preset} (for degradation=NAME copy it to {config_dir() / 'degradation'}/NAME.yaml)")
    print(f"numbers: {result.numbers}\nplots: {result.plots}")
    return 0


def _degradation(cfg: DictConfig) -> Any:
    scale = _count(cfg, "scale")
    if cfg.degradation is None:
        raise ValueError(f"no degradation: give degradation=NAME, one of {', '.join(options('degradation'))}")
    degradation = build(cfg.degradation)
    if not hasattr(degradation, "draw_keyed"):
        raise ValueError(f"degradation: {cfg.degradation.get('_target_')} is no degradation; take a preset")
    if degradation.scale != scale:
        raise ValueError(
            f"the degradation makes images smaller by {degradation.scale}, asked for is scale={scale}: give "
            f"scale={degradation.scale} or another degradation"
        )
    return degradation


def _count(cfg: DictConfig, name: str) -> int:
    if not isinstance(cfg[name], int) or cfg[name] < 1:
        raise ValueError(f"{name}={cfg[name]}: a whole number of at least 1")
    return int(cfg[name])


def _seed(cfg: DictConfig) -> int:
    if not isinstance(cfg.seed, int):
        raise ValueError(f"seed={cfg.seed}: a whole number")
    return int(cfg.seed)
