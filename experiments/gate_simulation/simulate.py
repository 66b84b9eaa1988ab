"""How often the gate is wrong, by simulation: ``python experiments/gate_simulation/simulate.py [--draw | --shipped]``.

Writes results.csv, error.png, power.png and shipped.png beside itself. Each cell is 5,000 simulated promotions, decided
with ``sr_lab.base.statistics.mean_interval`` on whole arrays; the first 10 of every cell are decided by ``gate`` too,
from tables of images, and must come out the same. The cells of the policy that we ship are decided by ``gate`` alone,
500 for 100 images and 100 for others. ``--shipped`` runs only those again, ``--draw`` only draws results.csv again.
"""

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.special import stdtrit

from sr_lab.base.statistics import mean_interval
from sr_lab.promotion import ImageRow, Measurement, Policy, gate
from sr_lab.promotion.cost import RatioLimit
from sr_lab.promotion.quality import NonInferior

HERE = Path(__file__).resolve().parent
NUM_SIMULATIONS = 5000
NUM_CHECKED = 10
NUM_DECIDED = 500
ALPHA = 0.05
MARGIN, SLICE_MARGIN = 0.05, 0.1
SD_SCENE, SD_FRAME = 0.08, 0.087
SCENES = (8, 12, 16, 20, 30, 50, 75, 100, 150, 200)
INK, SOFT, GRID = "#1c1e21", "#6a6f76", "#e4e6e8"
COLOURS = {"gate": "#0b6e8a", "student": "#d08a1d", "frames": "#c43d20", "mean": "#8a8f96", "loss": "#7a3fa0"}

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal."""
    return random.standard_normal(shape)


def heavy(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Student's t with 3 degrees of freedom, unit variance."""
    return random.standard_t(3, shape) / np.sqrt(3)


def rare_losses(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Mean 0, variance 1, skew -2: mostly small gains, rarely a large loss."""
    return 1 - random.exponential(size=shape)


def rare_gains(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Mean 0, variance 1, skew +2."""
    return random.exponential(size=shape) - 1


SHAPES: dict[str, tuple[str, Draw]] = {
    "normal": ("normal", normal),
    "heavy": ("heavy tails (t, 3 df)", heavy),
    "losses": ("rare large losses (skew -2)", rare_losses),
    "gains": ("rare large gains (skew +2)", rare_gains),
}


def gains(
    random: np.random.Generator, *, scenes: int, frames: int, draw: Draw, size: int = NUM_SIMULATIONS
) -> np.ndarray:
    """(size, scenes, frames) gains in dB with mean zero: what a scene shares, and what each frame adds."""
    shared = SD_SCENE * draw(random, (size, scenes, 1))
    return shared + SD_FRAME * random.standard_normal((size, scenes, frames))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Shares of promotions in one cell."""

    study: str
    case: str
    method: str
    scenes: int
    frames: int
    true_gain: float
    promoted: float


def policy(*, slices: bool) -> Policy:
    """Non-inferiority on all images, and with ``slices`` on three content slices as well."""
    common = {"metric": "psnr_y", "better": "higher", "min_scenes": 2}
    checks = {"all": NonInferior(margin=MARGIN, **common)}
    if slices:
        for name in ("content_texture", "content_flat", "content_text"):
            checks[name] = NonInferior(margin=SLICE_MARGIN, slice=name, **common)
    return Policy(name="simulated", alpha=ALPHA, checks=checks)


def tables(gain: np.ndarray, members: dict[str, np.ndarray]) -> tuple[Measurement, Measurement]:
    """Candidate and champion of one simulation; ``gain`` (scenes, frames), ``members`` name the scenes of a slice."""
    models = []
    for model, factor in (("candidate", 1.0), ("champion", 0.0)):
        rows = [
            ImageRow(
                name=f"{scene:04}/{frame}",
                scene=f"{scene:04}",
                slices=frozenset(name for name, mask in members.items() if mask[scene]),
                metrics={"psnr_y": 28 + 3 * np.sin(scene) + factor * float(gain[scene, frame])},
            )
            for scene in range(gain.shape[0])
            for frame in range(gain.shape[1])
        ]
        models.append(Measurement(model=model, holdout="simulated", protocol="y_crop", rows=rows, seen=frozenset()))
    return models[0], models[1]


def promoted_by_gate(gain: np.ndarray, members: dict[str, np.ndarray]) -> np.ndarray:
    """(S,) decisions of the gate's own arithmetic on arrays, the first ones checked against ``gate``."""
    scene_means = gain.mean(axis=2)
    passed = mean_interval(scene_means, alpha=ALPHA).low > -MARGIN
    for mask in members.values():
        passed &= mean_interval(scene_means[:, mask], alpha=ALPHA).low > -SLICE_MARGIN
    rules = policy(slices=bool(members))
    for index in range(NUM_CHECKED):
        decision = gate(*tables(gain[index], members), rules)
        if (decision.outcome == "promote") != bool(passed[index]):
            raise SystemExit(f"simulation {index}: arrays say {passed[index]}, the gate says\n{decision.text}")
    return passed


def promoted_by_student(gain: np.ndarray) -> np.ndarray:
    """The same from Student's t on scenes, not corrected for skew."""
    means = gain.mean(axis=2)
    count = means.shape[1]
    error = means.std(axis=1, ddof=1) / np.sqrt(count)
    return means.mean(axis=1) - stdtrit(count - 1, 1 - ALPHA) * error > -MARGIN


def promoted_by_frames(gain: np.ndarray) -> np.ndarray:
    """Student's t as if every frame were independent."""
    return promoted_by_student(gain.reshape(gain.shape[0], -1, 1))


def error_at_margin() -> list[Cell]:
    """One check, the truth exactly at the margin: what is promoted is promoted wrongly."""
    cells = []
    for case, (_, draw) in SHAPES.items():
        for frames in (1, 5):
            for scenes in SCENES:
                random = np.random.default_rng([1, len(cells)])
                gain = gains(random, scenes=scenes, frames=frames, draw=draw) - MARGIN
                found = {"gate": promoted_by_gate(gain, {}), "student": promoted_by_student(gain)}
                found["frames"] = promoted_by_frames(gain)
                found["mean"] = gain.mean(axis=(1, 2)) > -MARGIN
                cells += [
                    Cell(study="margin", case=case, method=method, scenes=scenes, frames=frames, true_gain=-MARGIN,
                         promoted=float(share.mean()))
                    for method, share in found.items()
                ]  # fmt: skip
    return cells


def members_of(scenes: int) -> dict[str, np.ndarray]:
    """Scenes of the content slices: four tenths texture, two tenths each flat and text."""
    index = np.arange(scenes)
    return {
        "content_texture": index % 5 < 2,
        "content_flat": index % 5 == 2,
        "content_text": index % 5 == 3,
    }


def several_checks() -> list[Cell]:
    """Four checks that must all pass: equal models, a loss on text alone, everything at its margin."""
    cells = []
    for frames in (1, 5):
        for scenes in SCENES:
            if scenes < 12:
                continue
            members = members_of(scenes)
            for case in ("equal", "text -0.1", "text -0.2", "all at margin", "better by 0.05"):
                random = np.random.default_rng([2, len(cells)])
                gain = gains(random, scenes=scenes, frames=frames, draw=normal)
                if case == "equal":
                    shift = 0.0
                elif case.startswith("text"):
                    shift = float(case.split()[1])
                    gain[:, members["content_text"]] += shift
                elif case == "all at margin":
                    shift = -MARGIN
                    gain -= MARGIN
                    slices = np.any(list(members.values()), axis=0)
                    gain[:, slices] -= SLICE_MARGIN - MARGIN
                else:
                    shift = 0.05
                    gain += shift
                found = {"gate": promoted_by_gate(gain, members), "mean": gain.mean(axis=(1, 2)) > -MARGIN}
                cells += [
                    Cell(study="several", case=case, method=method, scenes=scenes, frames=frames, true_gain=shift,
                         promoted=float(share.mean()))
                    for method, share in found.items()
                ]  # fmt: skip
    return cells


def power_by_gain() -> list[Cell]:
    """One check by the true gain, frames of a scene dependent."""
    cells = []
    for scenes in (10, 20, 50, 100):
        for gain_of_mean in np.round(np.arange(-0.12, 0.0601, 0.01), 3):
            random = np.random.default_rng([3, len(cells)])
            gain = gains(random, scenes=scenes, frames=5, draw=normal) + gain_of_mean
            cells.append(
                Cell(study="gain", case="normal", method="gate", scenes=scenes, frames=5, true_gain=float(gain_of_mean),
                     promoted=float(promoted_by_gate(gain, {}).mean()))
            )  # fmt: skip
    return cells


def best_of_thirty() -> list[Cell]:
    """A sweep of 30 models, all at the margin: the best on some images is gated on them, or on fresh ones."""
    random = np.random.default_rng(4)
    size, scenes, frames, trials = NUM_SIMULATIONS, 20, 5, 30
    used = np.empty((size, scenes, frames))
    best = np.full(size, -np.inf)
    for _ in range(trials):
        gain = gains(random, scenes=scenes, frames=frames, draw=normal) - MARGIN
        better = gain.mean(axis=(1, 2)) > best
        best = np.where(better, gain.mean(axis=(1, 2)), best)
        used[better] = gain[better]
    fresh = gains(random, scenes=scenes, frames=frames, draw=normal) - MARGIN
    return [
        Cell(study="sweep", case=case, method="gate", scenes=scenes, frames=frames, true_gain=-MARGIN,
             promoted=float(promoted_by_gate(gain, {}).mean()))
        for case, gain in (("same images", used), ("fresh images", fresh))
    ]  # fmt: skip


def hardest_decile() -> list[Cell]:
    """The worst decile, which is chosen with the scores themselves, through ``gate`` alone; the truth at the margin."""
    cells = []
    check = NonInferior(margin=SLICE_MARGIN, metric="psnr_y", better="higher", slice="worst_decile", min_scenes=2)
    rules = Policy(name="hardest", alpha=ALPHA, checks={"hardest": check})
    for scenes in (100, 200):
        random = np.random.default_rng([5, scenes])
        count = 0
        for _ in range(NUM_SIMULATIONS):
            difficulty = random.normal(28, 3, scenes)
            own = 0.1 * random.standard_normal((2, scenes))
            scores = difficulty + own - np.array([[SLICE_MARGIN], [0.0]])
            models = [
                Measurement(model=model, holdout="simulated", protocol="y_crop", seen=frozenset(), rows=[
                    ImageRow(name=f"{i:04}", scene=f"{i:04}", metrics={"psnr_y": float(value)})
                    for i, value in enumerate(row)
                ])
                for model, row in zip(("candidate", "champion"), scores, strict=True)
            ]  # fmt: skip
            count += gate(models[0], models[1], rules).outcome == "promote"
        cells.append(
            Cell(study="hardest", case="at margin", method="gate", scenes=scenes, frames=1, true_gain=-SLICE_MARGIN,
                 promoted=count / NUM_SIMULATIONS)
        )  # fmt: skip
    return cells


def shipped() -> Policy:
    """``conf/policy/default.yaml`` as it is."""
    found = instantiate(OmegaConf.load(HERE.parents[1] / "conf" / "policy" / "default.yaml"))
    assert isinstance(found, Policy)
    return found


def released(
    random: np.random.Generator, *, scenes: int, gain: float, face: float = 0.0, ratio: float = 1.0, noise: float = 0.4
) -> tuple[Measurement, Measurement]:
    """Candidate and champion with all that the shipped policy asks for, of different architectures and equal work.

    The images are those of BSD100 in kind: one a scene, 45 % texture, 12 % flat, 6 % faces. A model's gain varies from
    image to image (sd 0.2 dB), and SSIM and LPIPS follow it, with noise of their own.

    Args:
        random: Source of the draws.
        scenes: Number of images.
        gain: True mean gain, in dB.
        face: What the gain of images with a face is less by.
        ratio: True ratio of the times.
        noise: Standard deviation of the logarithm of a measured time; 0.4 was seen on a busy machine.
    """
    index = np.arange(scenes) * 100 // scenes
    own = {"content_texture": index < 45, "content_flat": (index >= 45) & (index < 57), "content_face": index >= 94}
    difference = gain + 0.2 * random.standard_normal(scenes) - face * own["content_face"]
    psnr, ssim = 27 + 3 * random.standard_normal(scenes), 0.75 + 0.1 * random.standard_normal(scenes)
    lpips, consistent = 0.3 + 0.05 * random.standard_normal(scenes), 45 + random.standard_normal(scenes)
    columns = {
        "psnr_y": (psnr, difference),
        "ssim_y": (ssim, 0.02 * difference + 0.002 * random.standard_normal(scenes)),
        "lpips": (lpips, -0.02 * difference + 0.005 * random.standard_normal(scenes)),
        "lr_consistency": (consistent, 0.3 * random.standard_normal(scenes)),
    }
    times = np.exp(noise * random.standard_normal((2, 64))) * np.array([[0.1 * ratio], [0.1]])
    times[0] = np.where(random.random(64) < 0.05, 5 * times[0], times[0])
    models = []
    for place, (model, factor) in enumerate((("candidate", 1.0), ("champion", 0.0))):
        rows = [
            ImageRow(
                name=f"{scene:04}",
                scene=f"{scene:04}",
                slices=frozenset(name for name, mask in own.items() if mask[scene]),
                metrics={key: float(base[scene] + factor * more[scene]) for key, (base, more) in columns.items()},
            )
            for scene in range(scenes)
        ]
        counted = {"memory_bytes": [1e8], "parameters": [1e6], "operations": [1e9]}
        models.append(
            Measurement(model=model, holdout="simulated", protocol="y_crop", rows=rows, seen=frozenset(),
                        resources={"latency_s": times[place].tolist(), **counted}, architecture=model)
        )  # fmt: skip
    return models[0], models[1]


def as_measured(rules: Policy, candidate: Measurement, champion: Measurement) -> tuple[Measurement, Measurement]:
    """The two with as many paired runs as a release makes: more, as long as they could still decide."""
    count = rules.resources["latency_s"]
    while True:
        cut = [
            replace(model, resources={**model.resources, "latency_s": model.resources["latency_s"][:count]})
            for model in (candidate, champion)
        ]
        if count >= len(candidate.resources["latency_s"]) or not rules.wants_more_runs(cut[0], cut[1]):
            return cut[0], cut[1]
        count *= 2


def shipped_policy() -> list[Cell]:
    """The policy that we ship, by the true gain, and with a loss on the few faces alone."""
    rules, cells = shipped(), []
    cases = [("gain", gain, 0.0) for gain in (-0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.3, 0.6)]
    cases += [("faces lose 1.0", 0.3, 1.0)]
    for scenes in (50, 100, 200):
        for case, gain, face in cases:
            random = np.random.default_rng([6, len(cells)])
            size = NUM_DECIDED if scenes == 100 else NUM_DECIDED // 5
            count = sum(
                gate(*as_measured(rules, *released(random, scenes=scenes, gain=gain, face=face)), rules).outcome
                == "promote"
                for _ in range(size)
            )
            cells.append(
                Cell(study="shipped", case=case, method="gate", scenes=scenes, frames=1, true_gain=gain,
                     promoted=count / size)
            )  # fmt: skip
    return cells


def times() -> list[Cell]:
    """The latency check of the policy that we ship, by the true ratio; ``true_gain`` is that ratio here."""
    check, cells = shipped().checks["latency"], []
    rules = Policy(name="time", alpha=ALPHA, checks={"latency": check})
    unknown = Policy(name="time", alpha=ALPHA, checks={"latency": RatioLimit(
        resource="latency_s", limit=1.1, min_runs=16, max_runs=64, undecided="fail")})  # fmt: skip
    before = Policy(name="time", alpha=ALPHA, checks={"latency": RatioLimit(
        resource="latency_s", limit=1.1, min_runs=16, undecided="fail")})  # fmt: skip
    for noise in (0.02, 0.1, 0.4):
        for ratio in (0.9, 1.0, 1.05, 1.1, 1.15, 1.2, 1.3):
            random = np.random.default_rng([7, len(cells)])
            found = dict.fromkeys(("equal work", "undecided fails", "16 runs"), 0)
            for _ in range(NUM_DECIDED):
                models = released(random, scenes=1, gain=0.0, ratio=ratio, noise=noise)
                for method, used in (("equal work", rules), ("undecided fails", unknown), ("16 runs", before)):
                    found[method] += gate(*as_measured(used, *models), used).outcome == "promote"
            cells += [
                Cell(study="times", case=f"noise {noise}", method=method, scenes=1, frames=1, true_gain=ratio,
                     promoted=count / NUM_DECIDED)
                for method, count in found.items()
            ]  # fmt: skip
    return cells


def select(cells: list[Cell], **wanted: object) -> list[Cell]:
    """The cells with these values."""
    return [cell for cell in cells if all(getattr(cell, key) == value for key, value in wanted.items())]


def plot(
    axes: plt.Axes, cells: list[Cell], label: str, colour: str, *, key: str = "scenes", dashed: bool = False
) -> None:
    """One curve of promoted shares."""
    axes.plot(
        [getattr(cell, key) for cell in cells], [cell.promoted for cell in cells], label=label, color=colour,
        marker=None if dashed else "o", markersize=3.5, linewidth=1.8, linestyle="--" if dashed else "-",
    )  # fmt: skip


def style(axes: plt.Axes, title: str, label: str) -> None:
    """The look of one panel."""
    axes.set_title(title, loc="left", fontsize=10.5, color=INK)
    axes.set_xlabel(label, color=SOFT, fontsize=9)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=SOFT, labelsize=8.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)


def draw_error(cells: list[Cell], path: Path) -> None:
    """False promotions at the margin, by shape of the differences."""
    figure, grid = plt.subplots(2, 4, figsize=(14, 6.6), sharex=True, sharey=True, layout="constrained")
    names = {"gate": "the gate", "student": "Student's t on scenes", "frames": "t, frames as independent"}
    for row, frames in zip(grid, (1, 5), strict=True):
        for axes, (case, (title, _)) in zip(row, SHAPES.items(), strict=True):
            for method, name in names.items():
                if method == "frames" and frames == 1:
                    continue
                plot(
                    axes, select(cells, study="margin", case=case, frames=frames, method=method), name, COLOURS[method]
                )
            axes.axhline(ALPHA, color=INK, linewidth=1, linestyle=":")
            style(axes, f"{title}, {'1 image a scene' if frames == 1 else '5 images'}", "scenes")
            axes.set_xscale("log")
            axes.set_xticks([8, 12, 20, 50, 100, 200], labels=["8", "12", "20", "50", "100", "200"])
            axes.minorticks_off()
            axes.set_ylim(0, 0.26)
        row[0].set_ylabel("share promoted, all wrongly", color=SOFT, fontsize=9)
    grid[1, 0].legend(frameon=False, fontsize=9, loc="upper right")
    grid[0, 0].text(200, ALPHA + 0.012, "alpha 0.05", fontsize=8.5, color=INK, ha="right")
    figure.suptitle(
        f"False promotions of a model exactly at the margin of {MARGIN} dB, {NUM_SIMULATIONS:,} simulations a point",
        x=0.01, ha="left", fontsize=13, color=INK,
    )  # fmt: skip
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_power(cells: list[Cell], path: Path) -> None:
    """What is promoted, by gain and by number of scenes."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.9), sharey=True, layout="constrained")
    for scenes, colour in zip((10, 20, 50, 100), ("#9fd0dd", "#56a5bb", "#0b6e8a", "#063c4c"), strict=True):
        plot(left, select(cells, study="gain", scenes=scenes), f"{scenes} scenes x 5", colour, key="true_gain")
    left.axvline(-MARGIN, color=INK, linewidth=1, linestyle=":")
    left.text(-MARGIN - 0.003, 0.93, "margin", fontsize=8.5, color=INK, ha="right")
    left.legend(frameon=False, fontsize=9, loc="center left")
    style(left, "one check, by the true gain", "true gain over the champion, dB")
    left.set_ylabel("share promoted", color=SOFT, fontsize=9)
    for axes, frames in ((middle, 1), (right, 5)):
        wanted = {"study": "several", "frames": frames}
        plot(axes, select(cells, **wanted, case="better by 0.05", method="gate"), "gate: better by 0.05 dB", "#2f8f5b")
        plot(axes, select(cells, **wanted, case="equal", method="gate"), "gate: equal model", COLOURS["gate"])
        plot(
            axes, select(cells, **wanted, case="text -0.1", method="gate"), "gate: 0.1 dB lost on text", COLOURS["loss"]
        )
        plot(
            axes,
            select(cells, **wanted, case="all at margin", method="gate"),
            "gate: all at the margin",
            COLOURS["frames"],
        )
        plot(axes, select(cells, **wanted, case="text -0.1", method="mean"), "mean PSNR alone: 0.1 dB lost on text",
             COLOURS["mean"], dashed=True)  # fmt: skip
        axes.axhline(ALPHA, color=INK, linewidth=1, linestyle=":")
        style(
            axes, f"four checks (all, texture, flat, text), {frames} image{'s' if frames > 1 else ''} a scene", "scenes"
        )
        axes.set_xscale("log")
        axes.set_xticks([12, 20, 30, 50, 100, 200], labels=["12", "20", "30", "50", "100", "200"])
        axes.minorticks_off()
    figure.legend(*middle.get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside lower right", ncols=5)
    figure.suptitle(
        f"What the gate promotes; margins {MARGIN} dB on all images, {SLICE_MARGIN} dB on a slice; text is a fifth of "
        "the scenes", x=0.01, ha="left", fontsize=13, color=INK,
    )  # fmt: skip
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_shipped(cells: list[Cell], path: Path) -> None:
    """What the shipped policy promotes, by true gain, and what its latency check passes, by true ratio."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 4.9), sharey=True, layout="constrained")
    for scenes, colour in zip((50, 100, 200), ("#9fd0dd", "#0b6e8a", "#063c4c"), strict=True):
        found = select(cells, study="shipped", case="gain", scenes=scenes)
        plot(left, found, f"{scenes} images", colour, key="true_gain")
        (faces,) = select(cells, study="shipped", case="faces lose 1.0", scenes=scenes)
        left.plot([faces.true_gain], [faces.promoted], "x", color=colour, markersize=8)
    left.axvline(-MARGIN, color=INK, linewidth=1, linestyle=":")
    left.axhline(ALPHA, color=INK, linewidth=1, linestyle=":")
    left.legend(frameon=False, fontsize=9, loc="center right")
    style(left, "conf/policy/default.yaml; x: 1 dB lost on faces alone (6 % of the images)", "true gain, dB")
    left.set_ylabel("share promoted", color=SOFT, fontsize=9)
    for noise, colour in zip((0.02, 0.1, 0.4), ("#2f8f5b", "#d08a1d", "#c43d20"), strict=True):
        for method, dashed in (("equal work", False), ("16 runs", True)):
            found = select(cells, study="times", case=f"noise {noise}", method=method)
            plot(right, found, f"noise {noise:.0%}, {method}", colour, key="true_gain", dashed=dashed)
    right.axvline(1.1, color=INK, linewidth=1, linestyle=":")
    right.axhline(ALPHA, color=INK, linewidth=1, linestyle=":")
    right.legend(frameon=False, fontsize=8.5, loc="center right")
    style(right, "its latency check; dashed: 16 runs, undecided is a failure", "true ratio of the times")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def simulate(*, only_shipped: bool) -> None:
    """Runs the studies and writes results.csv."""
    start = time.perf_counter()
    studies = (error_at_margin, several_checks, power_by_gain, best_of_thirty, hardest_decile, shipped_policy, times)
    kept: list[Cell] = []
    if only_shipped:
        studies = (shipped_policy, times)
        kept = [cell for cell in load() if cell.study not in ("shipped", "times")]
    cells = [*kept, *(cell for study in studies for cell in study())]
    with (HERE / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Cell.__dataclass_fields__)
        writer.writerows([*vars(cell).values()] for cell in cells)
    print(f"{len(cells)} cells in {time.perf_counter() - start:.0f} s")


def read(row: dict[str, str]) -> Cell:
    """A cell from a line of results.csv."""
    return Cell(
        study=row["study"],
        case=row["case"],
        method=row["method"],
        scenes=int(row["scenes"]),
        frames=int(row["frames"]),
        true_gain=float(row["true_gain"]),
        promoted=float(row["promoted"]),
    )


def load() -> list[Cell]:
    """The cells of results.csv."""
    with (HERE / "results.csv").open(newline="", encoding="utf-8") as file:
        return [read(row) for row in csv.DictReader(file)]


def main() -> None:
    """Simulates where asked to, draws and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", action="store_true", help="only draw results.csv again")
    parser.add_argument("--shipped", action="store_true", help="only run the cells of the shipped policy again")
    asked = parser.parse_args()
    if not asked.draw:
        simulate(only_shipped=asked.shipped)
    cells = load()
    draw_shipped(cells, HERE / "shipped.png")
    draw_error(cells, HERE / "error.png")
    draw_power(cells, HERE / "power.png")
    for case in SHAPES:
        for scenes in (8, 20, 50, 100):
            found = {c.method: c.promoted for c in select(cells, study="margin", case=case, frames=5, scenes=scenes)}
            print(f"margin  {case:<7} {scenes:>4} scenes x 5: " + "  ".join(f"{k} {v:.3f}" for k, v in found.items()))
    for scenes in (20, 50, 100, 200):
        found = {c.case: c.promoted for c in select(cells, study="several", method="gate", frames=1, scenes=scenes)}
        print(f"several {scenes:>4} scenes x 1: " + "  ".join(f"{k}: {v:.3f}" for k, v in found.items()))
    for scenes in (50, 100, 200):
        found = {f"{c.case} {c.true_gain:+}": c.promoted for c in select(cells, study="shipped", scenes=scenes)}
        print(f"shipped {scenes:>4} images: " + "  ".join(f"{k}: {v:.3f}" for k, v in found.items()))
    for noise in (0.02, 0.1, 0.4):
        for method in ("equal work", "undecided fails", "16 runs"):
            found = {
                c.true_gain: c.promoted for c in select(cells, study="times", case=f"noise {noise}", method=method)
            }
            print(f"times noise {noise} {method}: " + "  ".join(f"{k}: {v:.3f}" for k, v in found.items()))
    for study in ("sweep", "hardest"):
        for cell in select(cells, study=study):
            print(f"{study} {cell.case}, {cell.scenes} scenes x {cell.frames}: {cell.promoted:.3f}")


if __name__ == "__main__":
    main()
