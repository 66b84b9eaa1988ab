"""Milliseconds and memory of four networks on one core, by every engine and the peers that install.

    python benchmarks/inference.py                   # 256x256, x4: edge, Compact-16, EDSR-baseline, RRDBNet
    python benchmarks/inference.py --networks edge compact --side 128 --rounds 5
    python benchmarks/inference.py --folder 100      # srlab restore of 100 photos beside bare engine calls and codecs
    python benchmarks/inference.py --start           # from nothing to the first written image, by a bundle

Contenders of one network take turns, in processes of their own, so that what the machine does meanwhile meets all of
them and memory is each one's own. Time is CPU time, the least of the rounds; ratios are against eager PyTorch in its
usual order, with the allocator as glibc has it (``torch eager``), and told to keep its pages (``torch eager, pages``).
Memory is the most that the process held, less what it held before the engine was built. Random weights: they change no
time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

EDGE = {"_target_": "sr_lab.networks.ecbsr.ECBSR", "num_channels": 1, "num_blocks": 5, "num_features": 32}
NETWORKS: dict[str, dict[str, Any]] = {
    "edge": {**EDGE, "collapsed": True},
    "compact": {"_target_": "sr_lab.networks.compact.Compact"},
    "edsr": {"_target_": "sr_lab.networks.edsr.EDSR"},
    "rrdb": {"_target_": "sr_lab.networks.rrdb.RRDBNet"},
}
CONTENDERS = ("torch eager", "torch eager, pages", "torch", "onnx", "openvino", "ncnn", "spandrel")
SPANDREL = {"compact": "SRVGGNetCompact", "edsr": "EDSR", "rrdb": "RRDBNet"}


def resident(name: str) -> int:
    """Bytes: VmRSS or VmHWM of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def contender(network: str, name: str) -> Any:
    """A function from a tile (1, C, h, w) to its image, and its channels."""
    import torch

    from sr_lab.artefacts.artefact import build_network
    from sr_lab.base.memory import keep_pages

    torch.set_num_threads(1)
    if name not in ("torch eager", "spandrel"):
        keep_pages()
    torch.manual_seed(0)
    built = build_network({**NETWORKS[network], "scale": 4}).eval()
    if name in ("torch eager", "torch eager, pages"):
        call = built
    elif name == "spandrel":
        call = spandrel_network(network, built)
    else:
        from sr_lab.inference.engines import make_engine

        engine = make_engine(built, name, threads=1)
        return engine, built.num_channels

    def run(tile: Any) -> Any:
        with torch.inference_mode():
            return call(torch.from_numpy(tile)).numpy()

    return run, built.num_channels


def spandrel_network(network: str, built: Any) -> Any:
    """Spandrel's network of that architecture, with random weights."""
    from spandrel.architectures.Compact import Compact as SRVGGNetCompact
    from spandrel.architectures.ESRGAN import ESRGAN as RRDBNet

    if network == "compact":
        return SRVGGNetCompact(num_in_ch=3, num_out_ch=3, num_feat=64, num_conv=16, upscale=4).eval()
    if network == "rrdb":
        return RRDBNet(in_nc=3, out_nc=3, num_filters=64, num_blocks=23, scale=4).eval()
    raise ImportError(f"spandrel has no {network}")


def worker(network: str, name: str, side: int) -> None:
    """One contender: a line when it is ready, then one for each line it reads."""
    import numpy as np
    import torch  # its own memory is not counted

    torch.zeros(1)
    try:
        before = resident("VmRSS")
        call, channels = contender(network, name)
        tile = np.random.default_rng(0).random((1, channels, side, side), dtype=np.float32)
        call(tile)
    except Exception as error:  # what cannot run is told, the others go on
        print(json.dumps({"error": str(error)}), flush=True)
        return
    print(json.dumps({"memory": resident("VmHWM") - before}), flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        call(tile)
        print(json.dumps({"seconds": time.process_time() - start}), flush=True)


def compare(network: str, side: int, rounds: int) -> None:
    """The table of one network."""
    command = [sys.executable, __file__, "--side", str(side), "--worker", network]
    running = {}
    for name in CONTENDERS:  # one after the other: a process that waits takes no core
        process = subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running[name] = (process, json.loads(process.stdout.readline()))  # type: ignore[union-attr]
    best = {name: float("inf") for name, (_, ready) in running.items() if "error" not in ready}
    for _ in range(rounds):
        for name in best:
            process = running[name][0]
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            best[name] = min(best[name], json.loads(process.stdout.readline())["seconds"])  # type: ignore[union-attr]
    for process, _ in running.values():
        process.stdin.close()  # type: ignore[union-attr]
        process.wait()
    for name, (_, ready) in running.items():
        if "error" in ready:
            print(f"{network:<9}{name:<20}not run: {ready['error'].splitlines()[0][:90]}")
            continue
        ratios = "".join(f"{best[each] / best[name]:>9.2f}x" for each in ("torch eager", "torch eager, pages"))
        print(f"{network:<9}{name:<20}{1000 * best[name]:>9.0f}{ready['memory'] / 2**20:>9.0f}{ratios}", flush=True)


def folder(count: int) -> None:
    """``srlab restore`` of a folder beside the bare engine and codec calls, in CPU time of this process."""
    import numpy as np
    import torch
    from scoring import photo

    from sr_lab.artefacts.artefact import build_network, save_artefact
    from sr_lab.base.memory import keep_pages
    from sr_lab.cli import main
    from sr_lab.images import read_image, rgb_to_y, to_levels, to_tensor, write_image
    from sr_lab.images.resize import resize_bicubic
    from sr_lab.inference.engines import choose_engine

    torch.set_num_threads(1)
    keep_pages()
    with tempfile.TemporaryDirectory() as place:
        low, node = Path(place) / "low", {**NETWORKS["edge"], "scale": 2}
        for number in range(count):
            write_image(low / f"{number:03d}.png", np.roll(photo(320, 480), 7 * number, axis=1))
        network = build_network(node).eval()
        artefact = save_artefact(Path(place) / "edge", network, config={"model": {"network": node}}, metadata={})
        engine, choice = choose_engine(network)
        print(choice.sentence)
        settings = [f"input={low}", f"restorer={artefact}"]
        main(["restore", *settings, f"output={place}/warm"])
        start = time.process_time()
        main(["restore", *settings, f"output={place}/ours"])
        ours = time.process_time() - start
        start = time.process_time()
        engine_seconds = 0.0
        for file in sorted(low.iterdir()):
            with torch.inference_mode():
                image = to_tensor(read_image(file))
                begin = time.process_time()
                luma = torch.from_numpy(engine(rgb_to_y(image).numpy()))
                engine_seconds += time.process_time() - begin
                enlarged = resize_bicubic(image, scale=2.0)
                restored = enlarged + (luma - rgb_to_y(enlarged)) * (255 / 219)
                write_image(Path(place) / "bare" / file.name, to_levels(restored, np.uint8))
        bare = time.process_time() - start
    print(f"{count} photos of 480x320, edge x2: srlab restore {ours:.2f} s, engine + colours + codecs {bare:.2f} s")
    print(f"(engine alone {engine_seconds:.2f} s); restore reaches {bare / ours:.2f} of the bare calls")


def start() -> None:
    """Wall and CPU time of a bundle's process, from nothing to the written image."""
    import resource

    from scoring import photo

    from sr_lab.artefacts.artefact import build_network, save_artefact
    from sr_lab.cli import main
    from sr_lab.images import write_image

    with tempfile.TemporaryDirectory() as place:
        node = {**NETWORKS["edge"], "scale": 4}
        config = {"model": {"network": node}}
        artefact = save_artefact(Path(place) / "edge", build_network(node), config=config, metadata={})
        main(["export", f"restorer={artefact}", "target=bundle", f"output={place}/bundle", "num_runs=1"])
        write_image(Path(place) / "low.png", photo(128, 128))
        for kind in ("cold", "warm", "warm"):
            used, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            command = [sys.executable, f"{place}/bundle/restore.py", f"{place}/low.png", f"{place}/high.png"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            now = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
            print(f"bundle, {kind}: {time.perf_counter() - begin:.2f} s, {cpu:.2f} s of CPU, 128x128 to 512x512")


def main_() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=int, metavar="PHOTOS")
    parser.add_argument("--start", action="store_true")
    parser.add_argument("--worker", nargs=2, metavar=("NETWORK", "CONTENDER"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        worker(asked.worker[0], asked.worker[1], asked.side)
    elif asked.folder:
        folder(asked.folder)
    elif asked.start:
        start()
    else:
        titles = f"{'network':<9}{'who':<20}{'CPU ms':>9}{'MiB':>9}{'eager':>10}{'pages':>10}"
        print(f"{titles}   ({asked.side}x{asked.side}, x4)")
        for network in asked.networks:
            compare(network, asked.side, asked.rounds)


if __name__ == "__main__":
    main_()
