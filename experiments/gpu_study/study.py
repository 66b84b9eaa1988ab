"""Everything that needs a GPU, in one command: speed, degradations, trainings of fixed length, their evaluation.

    python experiments/gpu_study/study.py runs/gpu_study               # to the end
    python experiments/gpu_study/study.py runs/gpu_study --minutes 9   # so long; exit code 75: call it again to go on
    python experiments/gpu_study/study.py OUT --tiny                   # toy sizes on a CPU: every piece, no result

Needs the research data sets (SR_LAB_SHARED). A piece that is done has its file in OUT/results and is not done again; no
piece works longer than nine minutes at a time. A training's number of steps comes from the measured time of a step, so
that its schedule ends with its budget; it pauses at a checkpoint when the time is up, and goes on at the next call.
OUT/summary.md and summary.json hold what is known so far, beside the bars.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(Path(__file__).parent)]

from recipes import BARS, SPEED, TRAININGS, Training  # noqa: E402

LONGEST, AGAIN = 9 * 60, 75
START_UP, MARGIN = 120, 40  # seconds: what a training needs before its first step; kept for its end
USED = 0.93  # share of a training's budget that its steps take; the rest is validation


class Study:
    """The pieces, their results, and the time that is left.

    Args:
        root: folder of everything that is written.
        tiny: toy sizes.
        seconds: after which no new work is begun.
    """

    def __init__(self, root: Path, *, tiny: bool, seconds: float) -> None:
        self.root, self.tiny = root, tiny
        self.deadline = time.monotonic() + seconds
        self.shared = Path(os.environ.get("SR_LAB_SHARED", ROOT.parent / "shared")).resolve()
        self.benchmarks = ("Set5",) if tiny else ("Set5", "Set14", "BSD100")
        (root / "results").mkdir(parents=True, exist_ok=True)

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def pieces(self) -> dict[str, Callable[[], dict[str, Any] | None]]:
        """What there is to do, in order; a piece gives its result, or None where its time was up before."""
        found: dict[str, Callable[[], dict[str, Any] | None]] = {"machine": self.machine}
        for case in SPEED:
            found[f"speed_{case}"] = lambda case=case: self.speed(case)
        found["degradations"] = self.degradations
        for training in TRAININGS:
            found[f"rate_{training.name}"] = lambda training=training: self.rate(training)
            found[f"train_{training.name}"] = lambda training=training: self.train(training)
            found[f"evaluate_{training.name}"] = lambda training=training: self.evaluate(training)
        return found

    def result(self, piece: str) -> dict[str, Any] | None:
        """The numbers of a piece that is done."""
        file = self.root / "results" / f"{piece}.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def todo(self) -> list[str]:
        """The pieces that are not done."""
        return [piece for piece in self.pieces() if self.result(piece) is None]

    def attempt(self, piece: str) -> int:
        """Works at a piece; exit code 0 if it is done, 75 if its time was up, 1 if it failed."""
        try:
            result = self.pieces()[piece]()
        except Exception:  # the other pieces do not depend on it
            traceback.print_exc()
            return 1
        if result is None:
            return AGAIN
        temporary = self.root / "results" / f".{piece}"
        temporary.write_text(json.dumps(result, indent=2), encoding="utf-8")
        temporary.rename(self.root / "results" / f"{piece}.json")
        self.write_summary()
        return 0

    def needed(self, piece: str) -> dict[str, Any]:
        """The numbers of a piece that another one builds on."""
        result = self.result(piece)
        if result is None:
            raise RuntimeError(f"{piece} is not done: this one needs it")
        return result

    def machine(self) -> dict[str, Any]:
        """What everything else is measured on."""
        import torch

        from sr_lab.base.provenance import git_state

        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        return {"gpu": gpu, "torch": torch.__version__, "commit": git_state(ROOT).commit, "tiny": self.tiny}

    def speed(self, case: str) -> dict[str, Any]:
        """One row of benchmarks/training.py."""
        import training as benchmark

        side = 256 if self.tiny else 8192
        if case == "loop":
            return benchmark.loop_overhead(64 if self.tiny else 960)
        return benchmark.measure(case, tiny=self.tiny, peaks=benchmark.peaks(side))

    def degradations(self) -> dict[str, Any]:
        """Images/s on the device by batch, and how far its pixels are from the CPU's for the same draws."""
        from device_degradations import agreement, throughput

        presets = ("realesrgan", "realesrgan_sharp", "bsrgan")
        batches, rounds = ((2, 3), 1) if self.tiny else ((64, 256, 1024), 8)
        results = {}
        for name in presets:
            by_batch = {str(batch): throughput(name, batch, rounds) for batch in batches}
            found = {"images_s": max(by_batch.values()), "images_s_by_batch": by_batch}
            results[name] = {**found, **agreement(name, 2 if self.tiny else 48)}
        return results

    def rate(self, training: Training) -> dict[str, Any]:
        """Seconds a step of a training, in the fastest way that works on this machine, and its steps for its budget."""
        import training as benchmark

        if training.needs:
            self.needed(f"train_{training.needs}")
        errors: dict[str, str] = {}
        for way, settings in training.ways(self.tiny).items():
            line = [*training.overrides(self.root, self.tiny), *settings, "max_steps=800000"]
            warm, steps = (4, 4) if self.tiny else (24, 40)
            try:
                found = benchmark.seconds_a_step(line, warm=warm, steps=steps, strict=False)
            except Exception as error:  # the way is recorded as failed, the next one is tried
                errors[way] = f"{type(error).__name__}: {error}"[:2000]
                continue
            budget = training.minutes * 60 * USED / found["whole"]
            return {"way": way, **found, "steps": 16 if self.tiny else int(budget) // 80 * 80, "failed_ways": errors}
        raise RuntimeError(f"{training.name} trains in no way: {errors}")

    def train(self, training: Training) -> dict[str, Any] | None:
        """The training, as far as the time allows."""
        from sr_lab.cli import main

        rate = self.needed(f"rate_{training.name}")
        seconds = max(MARGIN, self.left - START_UP - MARGIN) if not self.tiny else 60
        steps, output = rate["steps"], self.root / "runs" / training.name
        line = [*training.overrides(self.root, self.tiny), *training.ways(self.tiny)[rate["way"]]]
        line += training.schedule(steps)
        every = max(8, int(60 / rate["whole"]) // 8 * 8) if not self.tiny else 8
        line += [f"max_steps={steps}", f"val_every={steps // (2 if self.tiny else 10)}", f"checkpoint_every={every}"]
        line += [f"max_seconds={seconds:.0f}", f"name={training.name}", f"output={output}", "tracking=none"]
        line += ["trainer.enable_progress_bar=false"] if self.tiny else []
        start = time.monotonic()
        code = main(["train", *line])
        used = output / "seconds.json"
        times = [*(json.loads(used.read_text()) if used.exists() else []), round(time.monotonic() - start, 1)]
        used.write_text(json.dumps(times))
        if code == AGAIN:
            return None
        if code:
            raise RuntimeError(f"srlab train {' '.join(line)} ended with code {code}")
        content = json.loads((output / "result.json").read_text(encoding="utf-8"))
        return {**content, "way": rate["way"], "minutes": training.minutes, "call_seconds": times, "command": line}

    def evaluate(self, training: Training) -> dict[str, Any]:
        """PSNR, SSIM, LPIPS and consistency on the benchmarks; pictures; the small weights."""
        from sr_lab.cli import main

        best = self.root / "runs" / training.name / "best"
        self.needed(f"train_{training.name}")
        found: dict[str, Any] = {}
        for name in self.benchmarks:
            report = self.root / "reports" / f"{training.name}-{name}"
            if not (report / "summary.json").exists():
                folder = self.shared / "datasets/benchmark" / name / "x4" / ("HR" if training.degradation else "")
                line = [f"restorer={best}", f"benchmark={folder}", "scale=4", "protocol=y_crop", f"report={report}"]
                line += [f"metrics=[{'psnr,ssim,lpips' if training.degradation else 'psnr,ssim,lpips,lr_consistency'}]"]
                line += [f"metrics.lpips.weights={self.shared}/weights"]
                line += [f"degradation={training.degradation}"] if training.degradation else []
                if main(["evaluate", *line]):
                    raise RuntimeError(f"srlab evaluate {' '.join(line)} failed")
            summary = json.loads((report / "summary.json").read_text(encoding="utf-8"))
            found[name] = {key: value for key, value in summary.items() if isinstance(value, float)}
            found[name]["bicubic"] = summary.get("bicubic")
            pictures = self.root / "pictures"
            pictures.mkdir(exist_ok=True)
            shutil.copy(report / "comparison.png", pictures / f"{training.name}-{name}.png")
        if training.keep_weights:
            found["weights_bytes"] = self.keep(best, training.name)
        return found

    def keep(self, best: Path, name: str) -> int:
        """The weights in half precision, small enough to be kept; their size in bytes."""
        from safetensors.torch import load_file, save_file

        (self.root / "weights").mkdir(exist_ok=True)
        file = self.root / "weights" / f"{name}.safetensors"
        save_file({key: value.half() for key, value in load_file(best / "weights.safetensors").items()}, file)
        shutil.copy(best / "config.yaml", file.with_suffix(".yaml"))
        return file.stat().st_size

    def write_summary(self) -> None:
        """The bars and what was measured, as JSON and as a table."""
        rows = []
        for text, piece, path, better, bar in BARS:
            value: Any = self.result(piece)
            for key in path:
                value = None if value is None else value.get(key)
            passed = None if value is None else value > bar if better == "above" else value < bar
            rows.append({"what": text, "value": value, "bar": f"{better} {bar}", "passed": passed})
        results = {piece: self.result(piece) for piece in self.pieces()}
        content = {"bars": rows, "results": results, "tiny": self.tiny}
        (self.root / "summary.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
        lines = ["| what | measured | bar | passed |", "|---|---|---|---|"]
        verdict = {None: "", True: "yes", False: "no"}
        for row in rows:
            value = "not yet measured" if row["value"] is None else f"{row['value']:.4g}"
            lines.append(f"| {row['what']} | {value} | {row['bar']} | {verdict[row['passed']]} |")
        title = "Toy sizes: these numbers mean nothing.\n\n" if self.tiny else ""
        (self.root / "summary.md").write_text(title + "\n".join(lines) + "\n", encoding="utf-8")


def in_child(root: Path, piece: str, seconds: float) -> int:
    """Works at a piece in a process of its own, which gives its GPU memory back and cannot outlast its time."""
    line = [sys.executable, __file__, str(root), "--piece", piece, "--minutes", str(seconds / 60)]
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(root / "cache"), "PYTHONPATH": str(ROOT)}
    try:
        return subprocess.run(line, env={**os.environ, **cache}, timeout=seconds, check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"{piece}: stopped after {seconds:.0f} s; goes on from its last checkpoint", flush=True)
        return AGAIN


def main() -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder of everything that is written")
    parser.add_argument("--minutes", type=float, help="after which the call ends, with exit code 75")
    parser.add_argument("--piece", action="append", help="only this piece, in this process; may be given again")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, all in this process")
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    seconds = 60 * (arguments.minutes or 1e6)
    if not arguments.tiny and not arguments.piece:
        import torch

        if not torch.cuda.is_available():
            print("no GPU here: nothing is measured (--tiny runs every piece in toy sizes)", file=sys.stderr)
            return 1
    study = Study(root, tiny=arguments.tiny, seconds=seconds)
    if arguments.piece:
        return max(study.attempt(piece) for piece in arguments.piece)
    failed = []
    for piece in study.todo():
        least = START_UP + 2 * MARGIN if piece.startswith("train_") and not study.tiny else 60
        code, attempts = AGAIN, 40 if piece.startswith("train_") else 3
        while code == AGAIN and attempts:
            if study.left < least:
                print(f"{len(study.todo())} pieces are left: call again")
                return AGAIN
            print(f"== {piece}", flush=True)
            attempts -= 1
            code = study.attempt(piece) if study.tiny else in_child(root, piece, min(LONGEST, study.left))
        if code:
            print(f"{piece} failed with code {code}", file=sys.stderr)
            failed.append(piece)
    study.write_summary()
    print((root / "summary.md").read_text(encoding="utf-8"))
    if failed:
        print(f"failed, and tried again by the next call: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
