"""Live video on this machine: a clip at its own pace through ``srlab restore live=true``, codec included.

    python benchmarks/live.py --seconds 120                       # live_x2, 480x270 x2, 25 frames a second, a pipe
    python benchmarks/live.py --seconds 120 --restorer edge_x2 --smaller [live_x2]   # it steps down

The clip is a photo that a camera pans over, with noise, as H.264 without B-frames in MPEG-TS. Printed are what the
command says (frames in, out, late, degraded, dropped; p50, p95 and p99 from packet in to packet out), its processor
time for each second of video, and its largest memory.
"""

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from sr_lab.images import read_image


def main() -> None:
    """Reads the arguments, measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--restorer", default="live_x2")
    parser.add_argument("--smaller", default="[]")
    parser.add_argument("--size", default="480x270")
    parser.add_argument("--rate", type=int, default=25)
    parser.add_argument("--photo", type=Path, help="a photo to pan over; noise where none is given")
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        clip, large = Path(folder) / "low.ts", Path(folder) / "large.ts"
        write_clip(clip, photo=given.photo, size=(width, height), rate=given.rate, seconds=given.seconds)
        command = [
            sys.executable, "-m", "sr_lab.cli", "restore", "input=-", f"output={large}", "live=true",
            f"restorer={given.restorer}", "scale=2", f"streaming.smaller={given.smaller}",
        ]  # fmt: skip
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        with clip.open("rb") as stream:
            done = subprocess.run(command, stdin=stream, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(re.sub(r": [^:]*$", "", done.stdout.strip()), done.stderr.strip(), sep="\n" if done.stderr else "")
        print(
            f"exit code {done.returncode}; {time.perf_counter() - began:.1f} s, {used:.1f} s of processor time "
            f"({used / given.seconds:.2f} cores), {after.ru_maxrss / 1024:.0f} MB"
        )


def write_clip(file: Path, *, photo: Path | None, size: tuple[int, int], rate: int, seconds: float) -> None:
    """Writes a clip that a live encoder might have sent."""
    width, height = size
    draw = np.random.default_rng(0)
    if photo is None:
        large = draw.integers(0, 256, (height // 4 + 60, width // 4 + 100, 3), dtype=np.uint8)
        large = large.repeat(4, 0).repeat(4, 1)
    else:
        large = read_image(photo)
    large = np.pad(
        large, ((0, max(0, height + 100 - len(large))), (0, max(0, width + 200 - large.shape[1])), (0, 0)), "reflect"
    )
    down, along = large.shape[0] - height, large.shape[1] - width
    with av.open(str(file), "w", format="mpegts") as made:
        stream = made.add_stream(
            "libx264", rate=rate, options={"preset": "veryfast", "tune": "zerolatency", "crf": "23"}
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(round(seconds * rate)):
            x, y = round(along * (0.5 + 0.5 * np.sin(number / 60))), round(down * (0.5 + 0.5 * np.cos(number / 47)))
            seen = large[y : y + height, x : x + width, :3].astype(np.int16)
            seen += draw.integers(-3, 4, seen.shape, dtype=np.int16)
            frame = av.VideoFrame.from_ndarray(np.clip(seen, 0, 255).astype(np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                made.mux(packet)
        for packet in stream.encode(None):
            made.mux(packet)


if __name__ == "__main__":
    main()
