"""How long a command takes to its first work: configuration composed and checked, its code imported, nothing done.

    python benchmarks/startup.py --repeats 5

Whole processes, interleaved, processor time (user and system): on a busy machine wall time says little. Held against
what nobody can avoid: importing torch, cv2 and numpy; a training against importing pytorch_lightning. Bytecode is kept
between processes, as it is for users, also where PYTHONDONTWRITEBYTECODE is set here.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys

FLOOR, LIGHTNING = "import torch, cv2, numpy", "import pytorch_lightning"
COMMANDS = {
    "evaluate": ["restorer=bicubic", "benchmark=.", "scale=2", "report=.", "metrics=[psnr,ssim]"],
    "restore": ["restorer=bicubic", "input=.", "output=."],
    "degrade": ["input=.", "output=.", "degradation=realesrgan"],
    "promote": ["name=photos"],
    "drift": ["reference=a", "current=b", "report=c", "scale=2"],
    "history": ["name=photos"],
    "train": ["experiment=edsr_tiny_x2_photos"],
    "sweep": ["experiment=edsr_tiny_x2_photos", "sweep=learning_rate"],
}
AGAINST_LIGHTNING = {"train"}


def code_of(command: str) -> str:
    """What a process does up to the command's first work."""
    return (
        "from importlib import import_module; from sr_lab.config.compose import compose; "
        f"compose({command!r}, {COMMANDS[command]!r}); import_module('sr_lab.commands.{command}')"
    )


def seconds(code: str) -> float:
    """Processor time of a Python process that runs ``code``."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--commands", nargs="*", default=list(COMMANDS))
    options = parser.parse_args()
    codes = {FLOOR: FLOOR, LIGHTNING: LIGHTNING, **{name: code_of(name) for name in options.commands}}
    for code in codes.values():
        seconds(code)  # files come into the page cache, bytecode is written
    found: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(options.repeats):
        for name, code in codes.items():
            found[name].append(seconds(code))
    best = {name: min(values) for name, values in found.items()}
    print(f"{'to the first work':<28}{'min s':>8}{'median s':>10}{'ratio':>8}  against")
    for name, values in found.items():
        base = LIGHTNING if name in AGAINST_LIGHTNING else FLOOR
        ratio = f"{best[name] / best[base]:>8.2f}  {base}" if name in options.commands else ""
        print(f"{name:<28}{best[name]:>8.2f}{statistics.median(values):>10.2f}{ratio}")


if __name__ == "__main__":
    main()
