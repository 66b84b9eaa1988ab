"""An exported bundle as a function in the cloud: the first answer of a new process, and those that follow.

    srlab export restorer=edge target=bundle output=bundle
    python benchmarks/serverless.py bundle

Each size is asked of new processes by ``restore.handler``, as AWS Lambda calls it, with a PNG of noise and edges in the
event and the answer in its body. Cold is from the start of the process to the first answer, warm the median of the
following ones; memory is the most that the process held. One thread; wall and processor seconds, medians of the
processes.
"""

import argparse
import base64
import io
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ASKED = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import restore
event = json.load(sys.stdin)
seconds = []
for _ in range(int(sys.argv[2])):
    start, begin = time.perf_counter(), time.process_time()
    answer = restore.handler(event)
    seconds.append((time.perf_counter() - start, time.process_time() - begin))
    if len(seconds) == 1:
        cold = time.time(), time.process_time()
assert answer["statusCode"] == 200, answer
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"cold": cold, "warm": seconds[1:], "peak": peak / 1024, "bytes": len(answer["body"])}))
"""


def event(side: int) -> dict[str, Any]:
    """A request with an image of ``side`` x ``side`` pixels."""
    y, x = np.mgrid[:side, :side]
    waves = np.stack([128 + 90 * np.sin(x / (4 + k)) * np.cos(y / (7 - k)) for k in range(3)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 4, waves.shape)
    stream = io.BytesIO()
    Image.fromarray((waves + noise).clip(0, 255).astype(np.uint8)).save(stream, "PNG")
    return {"body": base64.b64encode(stream.getvalue()).decode(), "isBase64Encoded": True}


def ask(bundle: Path, side: int, calls: int) -> dict[str, float]:
    """One new process."""
    start = time.time()
    command = [sys.executable, "-c", ASKED, str(bundle), str(calls)]
    told = subprocess.run(command, input=json.dumps(event(side)), capture_output=True, text=True, check=True).stdout
    found = json.loads(told.splitlines()[-1])
    return {
        "cold": found["cold"][0] - start,
        "cold CPU": found["cold"][1],
        "warm": statistics.median(wall for wall, _ in found["warm"]),
        "warm CPU": statistics.median(cpu for _, cpu in found["warm"]),
        "MiB": found["peak"],
        "KB": found["bytes"] / 1000,
    }


def main() -> None:
    """Reads the arguments, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 256, 384])
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--calls", type=int, default=6)
    given = parser.parse_args()
    for side in given.sides:
        rows = [ask(given.bundle, side, given.calls) for _ in range(given.processes)]
        cells = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        print(f"{side}x{side}: " + ", ".join(f"{key} {value:.2f}" for key, value in cells.items()), flush=True)


if __name__ == "__main__":
    main()
