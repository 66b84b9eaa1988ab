"""Are the images that come in still those that the model was made for? Exit code 0 no drift, 10 drift, others errors.

    srlab drift reference=reference.parquet current=DIR report=OUT scale=4
    srlab drift ... state=watch.json      # repeated checks: alpha is spent over them, the alarm has hysteresis
    srlab drift ... stream=seen.parquet   # image by image: only those not seen before are measured

An energy-distance permutation test on all features together decides; features are named by Kolmogorov-Smirnov tests
with Benjamini-Hochberg. Writes OUT/drift.html and drift.png (what moved, and images), OUT/drift.json,
OUT/current.parquet (the features, a reference for later), and on drift OUT/preset.yaml: a degradation that imitates the
images, to train on. With state the exit code tells the alarm, which stays on until ``clear_after`` quiet checks;
"new" in drift.json tells whether this check has raised it. The same images again spend nothing.
"""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock
from omegaconf import DictConfig, OmegaConf

from sr_lab.base.files import write_text
from sr_lab.commands._extractor import extractor, progress_bar
from sr_lab.config.compose import build
from sr_lab.degradations.estimate import fit_estimates, preset
from sr_lab.images import list_images
from sr_lab.monitoring.comparison import check_comparable, check_enough, compare
from sr_lab.monitoring.features import feature_columns, transformed
from sr_lab.monitoring.measuring import Extractor, measure_files, measure_folder
from sr_lab.monitoring.profile import Profile, read_profile, write_profile
from sr_lab.monitoring.report import CURRENT, HTML, PRESET, Finding, write_report
from sr_lab.monitoring.stream import Stream
from sr_lab.monitoring.watch import Watch, read_checks, write_checks


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    if cfg.state is not None and cfg.stream is not None:
        raise ValueError("state= and stream= are given: windows or single images, not both")
    if not isinstance(cfg.scale, int) or cfg.scale < 1:
        raise ValueError(f"scale={cfg.scale}: a whole number of at least 1")
    reference, measure = read_profile(Path(cfg.reference)), extractor(cfg)
    check_comparable(reference, measure.settings())
    current, finding = (windowed if cfg.stream is None else streamed)(cfg, reference, measure)
    report = Path(cfg.report)
    text = None
    if finding.alarm and current.estimates:
        text = preset(fit_estimates(current.estimates), scale=cfg.scale, source=Path(cfg.current).name)
        build(OmegaConf.create(text))
    write_profile(current, report / CURRENT)
    (report / PRESET).unlink(missing_ok=True)
    if text is not None:
        write_text(report / PRESET, text)
    write_report(
        finding, reference, current, report, folder=Path(cfg.current), preset=text, num_pictures=cfg.num_pictures
    )
    for name, reason in current.facts["skipped"].items():
        print(f"srlab drift: not used: {name}: {reason}", file=sys.stderr)
    print(finding.headline)
    for line in finding.lines:
        print(f"  {line}")
    if text is not None:
        print(f"preset: {report / PRESET}")
    print(f"report: {report / HTML}")
    return int(cfg.on_drift) if finding.alarm else 0


def windowed(cfg: DictConfig, reference: Profile, measure: Extractor) -> tuple[Profile, Finding]:
    """All images of the folder as one window: one check, or the next of many."""
    watch = Watch(alpha=cfg.alpha, horizon=1 if cfg.state is None else cfg.horizon, clear_after=cfg.clear_after)
    if watch.level < 1 / (cfg.num_permutations + 1):
        raise ValueError(
            f"num_permutations={cfg.num_permutations} cannot reach the level {watch.level:.2g} of a check: give "
            f"{int(2 / watch.level)} or more"
        )
    with progress_bar("drift") as progress:
        current = measure_folder(
            Path(cfg.current), measure, num_images=cfg.num_images, workers=cfg.workers, progress=progress
        )
    drift = compare(reference, current, min_images=cfg.min_images, num_permutations=cfg.num_permutations, seed=cfg.seed)
    facts: dict[str, Any] = {
        "p_value": drift.test.p_value,
        "images_sha256": current.facts["images_sha256"],
        "num_images": len(current),
    }
    if cfg.state is None:
        return current, Finding.of_window(drift, [watch.next([], **facts)], watch)
    state, key = Path(cfg.state), str(reference.facts["images_sha256"])
    state.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(state.with_suffix(".lock")):
        checks = read_checks(state, reference=key)
        check = watch.next(checks, **facts)
        if not checks or check is not checks[-1]:
            checks.append(check)
        write_checks(state, checks, reference=key)
    return current, Finding.of_window(drift, checks, watch)


def streamed(cfg: DictConfig, reference: Profile, measure: Extractor) -> tuple[Profile, Finding]:
    """The images of the folder that the stream has not seen, one after the other, after those that it has.

    Explained and shown are the new ones, and some before them where they are few.
    """
    check_enough(reference, "the profile holds", cfg.min_images)
    folder, state, key = Path(cfg.current), Path(cfg.stream), reference.facts["images_sha256"]
    files = {file.relative_to(folder).as_posix(): file for file in list_images(folder)}
    state.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(state.with_suffix(".lock")):
        before = read_profile(state) if state.is_file() else None
        if before is not None and before.facts.get("reference") != key:
            before = None
        if before is not None:
            check_comparable(before, measure.settings())
        seen = {} if before is None else {**dict.fromkeys(before.table["name"]), **before.facts["skipped"]}
        new = [name for name in files if name not in seen]
        known = [name for name in files if name in seen]
        shown = known[max(len(known) - max(cfg.min_images - len(new), 0), 0) :] + new
        with progress_bar("drift") as progress:
            chosen = [files[name] for name in shown]
            current = measure_files(chosen, folder, measure, workers=cfg.workers, progress=progress)
        added = current.table[current.table["name"].isin(new)]
        table = added if before is None else pd.concat([before.table, added], ignore_index=True)
        skipped = {**({} if before is None else before.facts["skipped"]), **current.facts["skipped"]}
        facts = {**current.facts, "skipped": skipped, "reference": key}
        write_profile(Profile(table, current.settings, facts), state)
    names = feature_columns(reference.table)
    bets = Stream(alpha=cfg.alpha, seed=cfg.seed)
    result = bets(transformed(reference.table, names), transformed(table, names), names)
    drift = compare(reference, current, min_images=1, num_permutations=cfg.num_permutations, seed=cfg.seed)
    return current, Finding.of_stream(drift, result, alpha=cfg.alpha, num_new=len(added))
