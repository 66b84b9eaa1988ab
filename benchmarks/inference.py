"""Milliseconds and memory of four networks on one core, by every engine and the peers that install.

    python benchmarks/inference.py                   # 256x256, x4: edge, Compact-16, EDSR-baseline, RRDBNet
    python benchmarks/inference.py --networks edge compact --side 128 --rounds 5
    python benchmarks/inference.py --folder 100      # srlab restore of 100 photos beside bare engine calls and codecs
    python benchmarks/inference.py --edge            # a window in colour beside the bare call of its engine
    python benchmarks/inference.py --tiles           # what a pixel costs by tiles of each side
    python benchmarks/inference.py --start           # from nothing to the first written image: srlab restore, a bundle

Contenders of one network take turns, in processes of their own, so that what the machine does meanwhile meets all of
them and memory is each one's own. Time is CPU time, the least of the rounds; ratios are against eager PyTorch in its
usual order, with the allocator as glibc has it (``torch eager``), and told to keep its pages (``torch eager, pages``).
Memory is the most that the process held, less what it held before the engine was built. Random weights, but for the
edge model: they change no time.
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

NETWORKS: dict[str, dict[str, Any] | None] = {
    "edge": None,  # the one that comes with the package
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


def build(network: str) -> Any:
    """The network at x4: random weights, but for the edge model."""
    import torch

    from sr_lab.artefacts.artefact import build_network
    from sr_lab.workflows.load import fetch_artefact

    torch.manual_seed(0)
    node = NETWORKS[network]
    return fetch_artefact("edge_x4").network if node is None else build_network({**node, "scale": 4}).eval()


def contender(network: str, name: str) -> Any:
    """A function from a tile (1, C, h, w) to its image, and its channels."""
    import torch

    from sr_lab.base.memory import keep_pages

    torch.set_num_threads(1)
    if name not in ("torch eager", "spandrel"):
        keep_pages()
    built = build(network)
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
    from scoring import photo

    from sr_lab.base.memory import keep_pages
    from sr_lab.cli import main
    from sr_lab.images import read_image, write_image
    from sr_lab.images.codecs import encode
    from sr_lab.images.plain import as_float, as_levels, bicubic, luma
    from sr_lab.workflows.kept import kept_restorer

    keep_pages()
    with tempfile.TemporaryDirectory() as place:
        low = Path(place) / "low"
        for number in range(count):
            write_image(low / f"{number:03d}.png", np.roll(photo(320, 480), 7 * number, axis=1))
        settings = [f"input={low}", "restorer=edge_x2"]
        main(["restore", *settings, f"output={place}/warm"])
        restorer = kept_restorer("edge_x2", scale=2, engine="auto", tile=None, overlap=None)
        if restorer is None:
            raise SystemExit("PyTorch is the fastest engine here: nothing to compare")
        start = time.process_time()
        main(["restore", *settings, f"output={place}/ours"])
        ours = time.process_time() - start
        spent = dict.fromkeys(("decode", "engine", "colours", "encode"), 0.0)
        for file in sorted(low.iterdir()):
            begin = time.process_time()
            image = as_float(read_image(file))[None]
            grey = luma(image)
            decoded = time.process_time()
            made = restorer.run(grey)
            computed = time.process_time()
            enlarged = bicubic(image, 2)
            levels = as_levels((enlarged + (made - luma(enlarged)) * np.float32(255 / 219))[0], np.uint8)
            coloured = time.process_time()
            (Path(place) / "bare.png").write_bytes(encode(levels, "png"))
            ends = (decoded, computed, coloured, time.process_time())
            for name, first, last in zip(spent, (begin, *ends), ends, strict=False):
                spent[name] += last - first
    bare, whole = sum(spent.values()) - spent["colours"], sum(spent.values())
    print(f"{count} photos of 480x320, edge x2: srlab restore {ours:.2f} s of CPU; bare calls: {whole:.2f} s")
    print(", ".join(f"{name} {seconds:.2f} s" for name, seconds in spent.items()))
    print(f"restore reaches {bare / ours:.2f} of engine and codecs alone, {whole / ours:.2f} with the colours' share")


def edge(rounds: int) -> None:
    """A window of colours as ``srlab restore`` computes it, beside the bare call of its engine."""
    import numpy as np

    from sr_lab.base.memory import keep_pages
    from sr_lab.images.plain import luma
    from sr_lab.workflows.kept import kept_restorer

    keep_pages()
    window = np.random.default_rng(0).random((1, 3, 256, 256), dtype=np.float32)
    grey = luma(window)
    for engine in ("onnx", "openvino", "ncnn"):
        restorer = kept_restorer("edge_x4", scale=4, engine=engine, tile=None, overlap=None)
        if restorer is None:
            continue
        best = [float("inf")] * 2
        for _ in range(3 * rounds):
            for place, call in enumerate((lambda: restorer.window(window), lambda: restorer.run(grey))):  # noqa: B023
                start = time.process_time()
                call()
                best[place] = min(best[place], time.process_time() - start)
        told = f"{1000 * best[0]:.0f} ms, its engine {1000 * best[1]:.0f} ms: {best[0] / best[1]:.2f}x"
        print(f"edge_x4, 256x256 in colour, {engine}: {told}")


def start() -> None:
    """Wall and CPU time of a process, from nothing to the written image: ``srlab restore``, and a bundle."""
    from scoring import photo

    from sr_lab.cli import main
    from sr_lab.images import write_image

    with tempfile.TemporaryDirectory() as place:
        os.environ["SRLAB_CACHE"] = f"{place}/cache"
        write_image(Path(place) / "low.png", photo(128, 128))
        command = [sys.executable, "-m", "sr_lab.cli", "restore", f"input={place}/low.png"]
        for kind in ("first on this machine", "again", "again", "again"):
            _process(f"srlab restore, {kind}", [*command, f"output={place}/{len(list(Path(place).iterdir()))}.png"])
        main(["export", "restorer=edge_x4", "target=bundle", f"output={place}/bundle", "num_runs=1"])
        for kind in ("cold", "warm", "warm"):
            bundle = [sys.executable, f"{place}/bundle/restore.py", f"{place}/low.png", f"{place}/high.png"]
            _process(f"bundle, {kind}", bundle)


def _process(title: str, command: list[str]) -> None:
    import resource

    used, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    print(f"{title}: {time.perf_counter() - begin:.2f} s, {cpu:.2f} s of CPU, 128x128 to 512x512", flush=True)


def tiles(rounds: int) -> None:
    """What a pixel of a large image costs by tiles of each side, the halo counted."""
    import numpy as np

    from sr_lab.base.memory import keep_pages
    from sr_lab.inference.engines import ENGINES, make_engine
    from sr_lab.inference.halo import known_halo

    keep_pages()
    sides = (96, 128, 192, 256, 384, 512)
    print(
        f"{'network':<9}{'engine':<10}"
        + "".join(f"{side:>9}" for side in sides)
        + "   ns a pixel, its halo's share in it"
    )
    for network in ("edge", "compact"):
        built = build(network)
        halo = known_halo(built).pixels
        for name in ENGINES:
            engine, row = make_engine(built, name, threads=1), []
            for side in sides:
                tile = np.random.default_rng(0).random((1, built.num_channels, side, side), dtype=np.float32)
                engine(tile)
                best = float("inf")
                for _ in range(rounds):
                    begin = time.process_time()
                    engine(tile)
                    best = min(best, time.process_time() - begin)
                row.append(1e9 * best / (side - 2 * halo) ** 2)
            print(f"{network:<9}{name:<10}" + "".join(f"{each:>9.0f}" for each in row), flush=True)


def main_() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=int, metavar="PHOTOS")
    parser.add_argument("--edge", action="store_true")
    parser.add_argument("--tiles", action="store_true")
    parser.add_argument("--start", action="store_true")
    parser.add_argument("--worker", nargs=2, metavar=("NETWORK", "CONTENDER"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        worker(asked.worker[0], asked.worker[1], asked.side)
    elif asked.folder:
        folder(asked.folder)
    elif asked.edge:
        edge(asked.rounds)
    elif asked.tiles:
        tiles(asked.rounds)
    elif asked.start:
        start()
    else:
        titles = f"{'network':<9}{'who':<20}{'CPU ms':>9}{'MiB':>9}{'eager':>10}{'pages':>10}"
        print(f"{titles}   ({asked.side}x{asked.side}, x4)")
        for network in asked.networks:
            compare(network, asked.side, asked.rounds)


if __name__ == "__main__":
    main_()
