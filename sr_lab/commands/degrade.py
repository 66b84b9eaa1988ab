"""Make low images and their manifest, make them again from it, look at a degradation, or estimate one.

    srlab degrade input=DIR output=DIR degradation=realesrgan scale=4 seed=1
    srlab degrade replay=OUT/manifest.parquet input=DIR output=DIR
    srlab degrade preview=IMAGE output=DIR degradation=bsrgan
    srlab degrade estimate=DIR output=DIR scale=4

With clips=true the images of one folder are the frames of one clip: they share a draw, only their noise differs, and
a video codec predicts them from one another.

The first writes OUTPUT/LR, OUTPUT/HR where the degradation changes the target (realesrgan_sharp), and
OUTPUT/manifest.parquet: a row an image, with the hash of the original, settings and every drawn parameter. Originals
are cropped to a multiple of the scale; 16 bits stay 16. Replay gives the same files byte by byte, and exit code 1
where other library versions gave other bytes. Both go on where they were stopped, take object stores (s3://...) as
input and output, and make the images on a Ray cluster by launcher=ray. Preview writes preview.png and preview.html:
operation by operation, several draws, the severity ladder. Estimate reads noise, blur, JPEG quality and colour from
low images alone and writes preset.yaml, fit.json and fit.png.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from sr_lab.base.files import replacing, write_bytes, write_json
from sr_lab.commands._replay import rebuild
from sr_lab.commands._spread import spread, stores
from sr_lab.config.compose import build, plain
from sr_lab.config.tree import config_dir
from sr_lab.data.degraded import HIGH, LOW, DegradeImages, Unit, drawn_units
from sr_lab.data.degraded_rows import MANIFEST, Row, read_rows
from sr_lab.data.replayed import check_replay, differing_files, replayed_units
from sr_lab.data.stores import Store
from sr_lab.degradations.base import Degradation
from sr_lab.evaluation.contact_sheet import write_sheet
from sr_lab.evaluation.degradation_preview import cut_middle, draws_section, ladder_sections, step_section
from sr_lab.images import read_image, to_tensor

_LEVELS = ("weak", "standard", "severe")


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    given = [name for name in ("replay", "preview", "estimate") if cfg[name] is not None]
    if len(given) > 1 or (given and given != ["replay"] and cfg.input is not None):
        names = ([] if cfg.input is None else ["input"]) + given
        raise ValueError(f"{' and '.join(f'{name}=' for name in names)} are given: one at a time (replay takes input)")
    if not given and cfg.input is None:
        raise ValueError("nothing to do: give input=DIR, replay=MANIFEST with input=DIR, preview=IMAGE or estimate=DIR")
    actions: dict[str, Callable[[DictConfig], int]] = {"replay": replay, "preview": preview, "estimate": estimate}
    return actions[given[0]](cfg) if given else degrade(cfg)


def degrade(cfg: DictConfig) -> int:
    """Low images of a folder or store."""
    degradation = _degradation(cfg)
    units = drawn_units(Store(cfg.input).images(), seed=_seed(cfg), clips=cfg.clips)
    rows = _made(cfg, units, degradation, plain(cfg.degradation))
    if rows is None:
        return 1
    print(f"{len(rows)} low images: {cfg.output}/{LOW}")
    if changed := sum(bool(row.target) for row in rows):
        print(f"{changed} changed targets: {cfg.output}/{HIGH}")
    print(f"manifest: {cfg.output}/{MANIFEST}")
    return 0


def replay(cfg: DictConfig) -> int:
    """The images of a manifest again."""
    manifest = Path(cfg.replay)
    if cfg.input is None:
        raise ValueError("replay= needs input=DIR, the folder of the originals")
    if cfg.degradation is not None:
        raise ValueError("degradation= is given beside replay=: the manifest holds the degradation, leave it out")
    rows = read_rows(manifest)
    if (Path(cfg.output) / MANIFEST).resolve() == manifest.resolve():
        raise ValueError(f"output={cfg.output} is where the manifest to replay lies: give another folder")
    degradation = rebuild(rows, manifest)
    check_replay(rows, Store(cfg.input), degradation)
    made = _made(cfg, replayed_units(rows), degradation, json.loads(rows[0].config))
    if made is None:
        return 1
    print(f"{len(made)} low images: {cfg.output}/{LOW}")
    if differing := list(differing_files(rows, made)):
        shown = ", ".join(differing[:5])
        print(
            f"srlab degrade: {len(differing)} files differ from the manifest's: {shown}. It was made with "
            f"{rows[0].versions}: install these versions",
            file=sys.stderr,
        )
        return 1
    print("every file is that of the manifest, byte by byte")
    return 0


def _made(
    cfg: DictConfig, units: Sequence[Unit], degradation: Degradation, config: Mapping[str, Any]
) -> list[Row] | None:
    """Makes the units, where the launcher says; their rows, None if an image failed."""
    source, target = stores(cfg)
    work = DegradeImages(source=source, target=target, units=units, degradation=degradation, config=config)
    unit = "clip" if cfg.clips else "image"
    return None if spread(cfg, list(work.units), lambda: work, "degrade", unit) else work.finish()


def preview(cfg: DictConfig) -> int:
    """Contact sheet of a degradation."""
    for name in ("num_draws", "num_ladder", "side"):
        _count(cfg, name)
    degradation, seed, output = _degradation(cfg), _seed(cfg), Path(cfg.output)
    high = cut_middle(to_tensor(read_image(Path(cfg.preview))), cfg.side, degradation.scale)
    name = _preset_name(cfg)
    keys = [(seed, 0, index) for index in range(1 if degradation.deterministic else cfg.num_draws)]
    draws = {str(key): degradation.draw_keyed([key]) for key in keys}
    sections = [
        step_section(degradation, high, draws[str(keys[0])], name=name, key=str(keys[0])),
        draws_section(degradation, high, draws, title="The result" if len(keys) == 1 else f"{len(keys)} draws"),
        *ladder_sections(_ladder(cfg.scale), high, [(seed, 0, index) for index in range(cfg.num_ladder)]),
    ]
    png, html = output / "preview.png", output / "preview.html"
    subtitle = f"{Path(cfg.preview).name}, scale {degradation.scale}; draws are named by (seed, epoch, index)"
    write_sheet(f"Degradation {name}", subtitle, sections, png=png, html=html)
    print(f"picture: {png}\npage: {html}")
    return 0


def estimate(cfg: DictConfig) -> int:
    """A preset that imitates a folder of low images."""
    from sr_lab.degradations.estimate import fit, preset
    from sr_lab.degradations.estimate.plots import plot_fit

    folder, output = Path(cfg.estimate), Path(cfg.output)
    if cfg.degradation is not None:
        raise ValueError("degradation= is given beside estimate=: it is what is looked for, leave it out")
    _count(cfg, "scale")
    if cfg.num_images is not None:
        _count(cfg, "num_images")
    with _bar("estimate", None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        fitted = fit(folder, num_images=cfg.num_images, progress=progress)
    text = preset(fitted, scale=cfg.scale, source=folder.name)
    build(OmegaConf.create(text))
    output.mkdir(parents=True, exist_ok=True)
    with replacing(output / "fit.png") as partial:
        plot_fit(fitted, partial, folder=folder)
    write_json(output / "fit.json", fitted.to_dict())
    write_bytes(output / "preset.yaml", text.encode())
    for name, reason in fitted.skipped.items():
        print(f"srlab degrade: not used: {name}: {reason}", file=sys.stderr)
    for name, span in (("noise sigma", fitted.noise), ("blur sigma", fitted.blur), ("JPEG quality", fitted.quality)):
        values = f"{span.low:.3g} to {span.high:.3g}, median {span.median:.3g}" if span.present else "none"
        unknown = f", {span.unknown} could not be told" if span.unknown else ""
        print(f"{name}: {values} ({span.share:.0%} of {span.known} images{unknown})")
    print(
        f"preset: {output / 'preset.yaml'} (for degradation=NAME copy it to {config_dir() / 'degradation'}/NAME.yaml)"
    )
    print(f"numbers: {output / 'fit.json'}\nplots: {output / 'fit.png'}")
    return 0


def _degradation(cfg: DictConfig) -> Degradation:
    _count(cfg, "scale")
    if cfg.degradation is None:
        raise ValueError(f"no degradation: give degradation=NAME, one of {', '.join(_presets())}")
    degradation = build(cfg.degradation)
    if not isinstance(degradation, Degradation):
        raise ValueError(f"degradation: {cfg.degradation.get('_target_')} is no degradation; take a preset")
    if degradation.scale != cfg.scale:
        raise ValueError(
            f"the degradation makes images smaller by {degradation.scale}, asked for is scale={cfg.scale}: give "
            f"scale={degradation.scale} or another degradation"
        )
    return degradation


def _count(cfg: DictConfig, name: str) -> None:
    if not isinstance(cfg[name], int) or cfg[name] < 1:
        raise ValueError(f"{name}={cfg[name]}: a whole number of at least 1")


def _seed(cfg: DictConfig) -> int:
    if not isinstance(cfg.seed, int):
        raise ValueError(f"seed={cfg.seed}: a whole number")
    return int(cfg.seed)


def _presets() -> list[str]:
    return sorted(file.stem for file in (config_dir() / "degradation").glob("*.yaml"))


def _preset_name(cfg: DictConfig) -> str:
    """Name of the preset with exactly these settings, else the class."""
    settings = plain(cfg.degradation)
    for name in _presets():
        node = _load(name, cfg.scale)
        if "defaults" not in node and plain(node) == settings:
            return name
    return str(settings.get("_target_", "")).rsplit(".", 1)[-1] + " (settings of its own)"


def _load(name: str, scale: int) -> DictConfig:
    file = config_dir() / "degradation" / f"{name}.yaml"
    whole = OmegaConf.create({"scale": scale, "degradation": OmegaConf.load(file)})
    node = whole.degradation
    assert isinstance(node, DictConfig)
    return node


def _ladder(scale: int) -> dict[str, Degradation]:
    """The severity preset, one level at a time; none where the preset or a level is missing."""
    if "severity" not in _presets():
        return {}
    levels = {}
    for level in _LEVELS:
        node = _load("severity", scale)
        weights = OmegaConf.select(node, "ops.level.weights")
        if weights is None or level not in weights:
            return {}
        for name in weights:
            weights[name] = float(name == level)
        levels[level] = build(node)
    return levels


def _bar(name: str, total: int | None) -> "tqdm[Any]":
    return tqdm(total=total, desc=name, unit="image", delay=1, leave=False)
