"""False alarms and power of the drift tests, on real photos.

    python experiments/drift/study.py --shared ../shared [--cache .srlab/drift_study] [--parts PART ...]

The features of 500 photos (BSDS400 and BSD100, shrunk by 2) are measured once under each condition and kept in the
cache; everything else is resampling of rows. Writes results.csv, table.md and power.png beside itself. --parts runs
some of the parts, or none: only the table and the plot are made again.
"""

import argparse
import io
import time
import zlib
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import cv2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

from sr_lab.base.statistics import energy_test
from sr_lab.images import read_image, resize_bicubic_uint8
from sr_lab.monitoring import Extractor, RepeatedChecks, Stream, measure_folder, read_profile, write_profile
from sr_lab.monitoring.embedding import ContentEmbedding
from sr_lab.monitoring.explanation import explain
from sr_lab.monitoring.features import Scaling, feature_columns, transformed
from sr_lab.monitoring.repeated import Check
from sr_lab.monitoring.shifts import FeatureShift, feature_shifts

HERE = Path(__file__).resolve().parent
NUM_REFERENCE = 200
WINDOWS = (25, 50, 100)
SHARES = (0.1, 0.2, 0.5, 1.0)
NUM_NULL, NUM_POWER, NUM_STREAMS, NUM_SEQUENCES, NUM_CHECKS = 1000, 200, 200, 200, 60
ALPHA = 0.05
WATCH = RepeatedChecks(alpha=ALPHA, horizon=NUM_CHECKS)
BASE = {"quality": 90, "noise": 2.0, "blur": 0.0, "resize": 1.0, "gain": 1.0}
CONDITIONS: dict[str, dict[str, float]] = {
    "as before": {},
    "JPEG 90 -> 60": {"quality": 60},
    "JPEG 90 -> 80": {"quality": 80},
    "noise 2 -> 6": {"noise": 6.0},
    "noise 2 -> 3": {"noise": 3.0},
    "blur 0 -> 0.8": {"blur": 0.8},
    "blur 0 -> 0.5": {"blur": 0.5},
    "resized by 0.7 and back": {"resize": 0.7},
    "darker by a fifth": {"gain": 0.8},
}
EXPECTED = {
    "JPEG 90 -> 60": ("quality",),
    "JPEG 90 -> 80": ("quality",),
    "noise 2 -> 6": ("noise",),
    "noise 2 -> 3": ("noise",),
    "blur 0 -> 0.8": ("blur",),
    "blur 0 -> 0.5": ("blur",),
    "resized by 0.7 and back": ("blur",),
    "darker by a fifth": ("brightness", "contrast"),
}
COLOURS = ("#8a8f96", "#0b6e8a", "#7db8c9", "#c43d20", "#e5a08f", "#2f7d5b", "#93c4a8", "#7a3fa0", "#d08a1d")


def make(low: np.ndarray, condition: str, name: str) -> bytes:
    """One camera's output: gain, blur, resizing, noise and JPEG, each a little different from image to image."""
    setting = BASE | CONDITIONS[condition]
    random = np.random.default_rng(zlib.crc32(f"{condition}/{name}".encode()))
    image = low.astype(np.float32) * setting["gain"]
    if setting["blur"]:
        image = cv2.GaussianBlur(image, (0, 0), setting["blur"])
    if setting["resize"] != 1:
        height, width = image.shape[:2]
        small = cv2.resize(image, None, fx=setting["resize"], fy=setting["resize"], interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    image = image + random.normal(0, setting["noise"] * random.uniform(0.75, 1.25), image.shape)
    stream = io.BytesIO()
    quality = int(setting["quality"] + random.integers(-3, 4))
    Image.fromarray(np.clip(np.round(image), 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def tables(shared: Path, cache: Path) -> dict[str, pd.DataFrame]:
    """Features of every photo under every condition, row by row the same photos."""
    extractor = Extractor(embedding=ContentEmbedding())
    result, lows = {}, {}
    for condition in CONDITIONS:
        folder = cache / condition.replace(" ", "_").replace(">", "to")
        profile = cache / f"{folder.name}.parquet"
        if not profile.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            lows = lows or shrunk(shared)
            for name, low in lows.items():
                (folder / f"{name}.jpg").write_bytes(make(low, condition, name))
            start = time.perf_counter()
            measured = measure_folder(folder, extractor)
            print(f"{condition}: {len(measured)} images, {len(measured) / (time.perf_counter() - start):.0f} images/s")
            write_profile(measured, profile)
        result[condition] = read_profile(profile).table
    return result


def shrunk(shared: Path) -> dict[str, np.ndarray]:
    """The photos at half their size."""
    files = sorted((shared / "datasets/train/BSDS400").glob("*.jpg"))
    files += sorted((shared / "datasets/benchmark/BSD100/x2/HR").glob("*.png"))
    lows = {}
    for file in tqdm(files, desc="shrink", unit="photo"):
        high = torch.from_numpy(read_image(file)).permute(2, 0, 1)[None]
        lows[file.stem] = resize_bicubic_uint8(high, scale=0.5)[0].permute(1, 2, 0).numpy()
    return lows


def split(random: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a reference and of a window: other photos."""
    rows = random.permutation(size)
    return rows[:NUM_REFERENCE], rows[NUM_REFERENCE:]


def window(
    before: pd.DataFrame, after: pd.DataFrame, rows: np.ndarray, share: float, random: np.random.Generator
) -> pd.DataFrame:
    """A window of which a share comes from the changed condition."""
    num_changed = round(share * len(rows))
    chosen = random.permutation(rows)
    return pd.concat([after.iloc[chosen[:num_changed]], before.iloc[chosen[num_changed:]]])


def pair(reference: pd.DataFrame, current: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Both as the deciding test sees them."""
    scaling = Scaling.pooled(reference, current)
    return scaling(reference), scaling(current)


def shifts_of(reference: pd.DataFrame, current: pd.DataFrame) -> list[FeatureShift]:
    """Every feature by itself."""
    scaling = Scaling.of(reference)
    return feature_shifts(scaling(reference), scaling(current), list(scaling.names))


def single_checks(base: pd.DataFrame, random: np.random.Generator) -> list[dict[str, object]]:
    """Share of resamplings without drift in which a rule speaks up."""
    results: list[dict[str, object]] = []
    for size in WINDOWS:
        alarms = {"energy": 0, "KS, any feature, BH": 0, "PSI > .1": 0, "PSI > .2": 0}
        for index in tqdm(range(NUM_NULL), desc=f"no drift, {size}"):
            known, rest = split(random, len(base))
            reference, current = base.iloc[known], base.iloc[rest[:size]]
            alarms["energy"] += (
                energy_test(*pair(reference, current), num_permutations=999, seed=index).p_value <= ALPHA
            )
            shifts = shifts_of(reference, current)
            alarms["KS, any feature, BH"] += any(shift.p_adjusted <= ALPHA for shift in shifts)
            worst = max(shift.psi for shift in shifts)
            alarms["PSI > .1"] += worst > 0.1
            alarms["PSI > .2"] += worst > 0.2
        results += [row("one check", rule, size, 0.0, count / NUM_NULL) for rule, count in alarms.items()]
    return results


def repeated_checks(base: pd.DataFrame, size: int, random: np.random.Generator) -> list[dict[str, object]]:
    """Share of periods of 60 checks without drift that hold an alarm."""
    once, spent, storms = 0, 0, 0
    for _ in tqdm(range(NUM_SEQUENCES), desc=f"60 checks, {size}"):
        known, rest = split(random, len(base))
        reference, checks = base.iloc[known], list[Check]()
        for index in range(NUM_CHECKS):
            current = base.iloc[random.choice(rest, size, replace=False)]
            p_value = energy_test(*pair(reference, current), seed=index).p_value
            checks.append(WATCH.next(checks, p_value=p_value, images_sha256=str(index), num_images=size))
        once += any(check.p_value <= ALPHA for check in checks)
        spent += any(check.alarm for check in checks)
        storms += sum(check.new for check in checks) > 1
    counts = {"each at .05": once, "alpha spent": spent, "more than one new alarm": storms}
    return [row("60 checks", rule, size, 0.0, count / NUM_SEQUENCES) for rule, count in counts.items()]


def power(data: dict[str, pd.DataFrame], condition: str, random: np.random.Generator) -> list[dict[str, object]]:
    """Share of resamplings in which a change is noticed by one check, by one of sixty, and rightly explained."""
    base = data["as before"]
    results = []
    for size, share in tqdm(list(product(WINDOWS, SHARES)), desc=condition):
        found, spent, right = 0, 0, 0
        for index in range(NUM_POWER):
            known, rest = split(random, len(base))
            reference = base.iloc[known]
            current = window(base, data[condition], rest[:size], share, random)
            p_value = energy_test(*pair(reference, current), num_permutations=1299, seed=index).p_value
            found += p_value <= ALPHA
            spent += p_value <= WATCH.level
            if p_value <= ALPHA:
                changes = explain(reference, current, shifts_of(reference, current))
                right += bool(changes) and changes[0].name in EXPECTED[condition]
        results.append(row("power", f"{condition}: one check", size, share, found / NUM_POWER))
        results.append(row("power", f"{condition}: alpha spent", size, share, spent / NUM_POWER))
        results.append(row("explained", condition, size, share, right / max(found, 1)))
    return results


def streams(data: dict[str, pd.DataFrame], random: np.random.Generator) -> list[dict[str, object]]:
    """False alarms of the stream within the photos left, and the delay after a change with the 101st image."""
    base, stream = data["as before"], Stream(alpha=ALPHA)
    names, results = feature_columns(base), []
    for condition, after in data.items():
        alarms, delays = 0, []
        for _ in tqdm(range(NUM_STREAMS), desc=f"stream, {condition}"):
            known, rest = split(random, len(base))
            come = pd.concat([base.iloc[rest[:100]], after.iloc[rest[100:]]])
            alarm = stream(transformed(base.iloc[known], names), transformed(come, names), names).alarm_at
            early = alarm is not None and (alarm < 100 or condition == "as before")
            alarms += early
            delays.append(np.inf if alarm is None else alarm - 99)
        results.append(row("stream, false alarms", condition, 300, 0.0, alarms / NUM_STREAMS))
        if condition != "as before":
            results.append(row("stream, found", condition, 200, 1.0, float(np.isfinite(delays).mean())))
            results.append(row("stream, median delay", condition, 200, 1.0, float(np.median(delays))))
    return results


def row(kind: str, what: str, size: int, share: float, value: float) -> dict[str, object]:
    """One line of results.csv."""
    return {"kind": kind, "what": what, "window": size, "share": share, "value": round(value, 4)}


def write_report(results: pd.DataFrame) -> None:
    """table.md and power.png from the lines of results.csv; what was not run is left out."""
    lines = ["| no drift, 1,000 resamplings | 25 | 50 | 100 |", "|---|---|---|---|"]
    lines += _lines(results, "one check")
    lines += ["", f"| no drift, {NUM_SEQUENCES} periods of {NUM_CHECKS} checks | 25 | 50 | 100 |", "|---|---|---|---|"]
    lines += _lines(results, "60 checks")
    found = results.query("kind == 'power' and share == 1")
    lines += ["", f"| every image changed, {NUM_POWER} resamplings | 25 | 50 | 100 |", "|---|---|---|---|"]
    lines += _lines(found, "power")
    fifth = results.query("kind == 'power' and share == 0.2")
    lines += ["", "| one image in five changed | 25 | 50 | 100 |", "|---|---|---|---|"]
    lines += _lines(fifth, "power")
    lines += [
        "",
        "| stream of single images | false alarms in 300 | found within 200 | median delay |",
        "|---|---|---|---|",
    ]
    for condition in CONDITIONS:
        cells = [
            results[(results.kind == kind) & (results.what == condition)].value.tolist()
            for kind in ("stream, false alarms", "stream, found", "stream, median delay")
        ]
        if any(cells):
            lines.append(f"| {condition} | " + " | ".join(f"{cell[0]:g}" if cell else "" for cell in cells) + " |")
    (HERE / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    conditions = [name for name in EXPECTED if (results.what == f"{name}: one check").any()]
    if not conditions:
        return
    figure, axes = plt.subplots(1, len(WINDOWS), figsize=(12, 4), sharey=True)
    for axis, size in zip(axes, WINDOWS, strict=True):
        for condition, colour in zip(EXPECTED, COLOURS[1:], strict=True):
            if condition in conditions:
                for rule, style in (("one check", "-"), ("alpha spent", "--")):
                    part = results[(results.window == size) & (results.what == f"{condition}: {rule}")]
                    axis.plot(part.share, part.value, style, color=colour, marker="o", markersize=3)
        axis.axhline(ALPHA, color=COLOURS[0], linewidth=0.8)
        axis.set(title=f"{size} images", xlabel="share of changed images", ylim=(0, 1.02))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share of resamplings with an alarm")
    handles = [plt.Line2D([], [], color=colour, label=name) for name, colour in zip(EXPECTED, COLOURS[1:], strict=True)]
    handles = [handle for handle in handles if handle.get_label() in conditions]
    styles = {"one check": "-", "one of 60 checks": "--"}
    handles += [plt.Line2D([], [], color="black", linestyle=style, label=label) for label, style in styles.items()]
    axes[-1].legend(handles=handles, fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(HERE / "power.png", dpi=110)


def _lines(results: pd.DataFrame, kind: str) -> list[str]:
    """A line of a table for each rule or condition, a column for each window."""
    part = results.query("kind == @kind")
    lines = []
    for what in dict.fromkeys(part.what):
        cells = [part[(part.what == what) & (part.window == size)].value.tolist() for size in WINDOWS]
        lines.append(f"| {what} | " + " | ".join(f"{cell[0]:.3f}" if cell else "not run" for cell in cells) + " |")
    return lines


PARTS: dict[str, Callable[[dict[str, pd.DataFrame], np.random.Generator], list[dict[str, object]]]] = {
    "stream": streams,
    "once": lambda data, random: single_checks(data["as before"], random),
    **{
        f"checks{size}": partial(lambda data, random, size: repeated_checks(data["as before"], size, random), size=size)
        for size in WINDOWS
    },
    **{
        f"power{number}": partial(lambda data, random, name: power(data, name, random), name=name)
        for number, name in enumerate(EXPECTED)
    },
}


def main() -> None:
    """Runs the parts asked for; each one's lines of results.csv are replaced."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--cache", type=Path, default=Path(".srlab/drift_study"))
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=[*PARTS, []])
    options = parser.parse_args()
    file = HERE / "results.csv"
    if options.parts:
        data = tables(options.shared, options.cache)
    for part in options.parts:
        rows = [{"part": part, **row} for row in PARTS[part](data, np.random.default_rng(zlib.crc32(part.encode())))]
        kept = pd.read_csv(file).query("part != @part") if file.is_file() else pd.DataFrame()
        pd.concat([kept, pd.DataFrame(rows)]).to_csv(file, index=False, lineterminator="\n")
    write_report(pd.read_csv(file))


if __name__ == "__main__":
    main()
