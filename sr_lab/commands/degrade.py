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

from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sr_lab.commands._telling import caution, complain
from sr_lab.config.call import called
from sr_lab.config.compose import build, plain
from sr_lab.config.presets import preset_name, severity_ladder
from sr_lab.config.tree import config_dir, options
from sr_lab.workflows.degrade import DegradedFolder, degrade
from sr_lab.workflows.estimate import estimate
from sr_lab.workflows.preview import preview
from sr_lab.workflows.replay import replay


def run(cfg: DictConfig) -> int:
    """Does the one of the four things that is asked for; see the module's docstring."""
    given = [name for name in ("replay", "preview", "estimate") if cfg[name] is not None]
    if len(given) > 1 or (given and given != ["replay"] and cfg.input is not None):
        names = ([] if cfg.input is None else ["input"]) + given
        raise ValueError(f"{' and '.join(f'{name}=' for name in names)} are given: one at a time (replay takes input)")
    if not given and cfg.input is None:
        raise ValueError("nothing to do: give input=DIR, replay=MANIFEST with input=DIR, preview=IMAGE or estimate=DIR")
    calls: dict[str, Callable[[DictConfig], int]] = {"replay": _replay, "preview": _preview, "estimate": _estimate}
    return calls[given[0]](cfg) if given else _degrade(cfg)


def _degrade(cfg: DictConfig) -> int:
    return _tell(called(degrade, cfg, degradation=_degradation(cfg), config=plain(cfg.degradation)))


def _replay(cfg: DictConfig) -> int:
    if cfg.input is None:
        raise ValueError("replay= needs input=DIR, the folder of the originals")
    if cfg.degradation is not None:
        raise ValueError("degradation= is given beside replay=: the manifest holds the degradation, leave it out")
    result = called(replay, cfg, manifest=Path(cfg.replay))
    code = _tell(result)
    complain("degrade", [result.difference] if result.differing else [])
    return 1 if result.differing else code


def _preview(cfg: DictConfig) -> int:
    made = called(
        preview,
        cfg,
        image=Path(cfg.preview),
        degradation=_degradation(cfg),
        name=preset_name(cfg.degradation, scale=cfg.scale),
        ladder=severity_ladder(scale=cfg.scale),
    )
    film = "" if made.film is None else f"\nin motion: {made.film}"
    print(f"picture: {made.picture}\npage: {made.page}{film}")
    return 0


def _estimate(cfg: DictConfig) -> int:
    if cfg.degradation is not None:
        raise ValueError("degradation= is given beside estimate=: it is what is looked for, leave it out")
    result = called(estimate, cfg, folder=Path(cfg.estimate), scale=_scale(cfg))
    build(OmegaConf.load(result.preset))
    complain("degrade", (f"not used: {name}: {reason}" for name, reason in result.fit.skipped.items()))
    where = f"(for degradation=NAME copy it to {config_dir() / 'degradation'}/NAME.yaml)"
    print("\n".join([*result.lines, f"preset: {result.preset} {where}"]))
    print(f"numbers: {result.numbers}\nplots: {result.plots}")
    return 0


def _tell(result: DegradedFolder) -> int:
    caution(result.cautions)
    complain("degrade", result.failures)
    if result.failures:
        count = f"{len(result.failures)} of {result.num_units} {result.unit}s failed"
        complain("degrade", [f"{count}; the others are written"])
        return 1
    print("\n".join(result.lines))
    return 0


def _degradation(cfg: DictConfig) -> Any:
    scale = _scale(cfg)
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


def _scale(cfg: DictConfig) -> int:
    if not isinstance(cfg.scale, int) or cfg.scale < 1:
        raise ValueError(f"scale={cfg.scale}: a whole number of at least 1")
    return cfg.scale
