"""What a frame costs that a causal network restores: by each engine, and of it the search for motion.

    python benchmarks/streaming.py [--size 480 270] [--frames 24] [--restorer runs/NAME/best]

Without ``--restorer`` the network is the one of ``experiment=recurrent_x4_clips`` with weights that do something. The
frames are a camera path over a packaged photo. Engines take turns, frame by frame; the median counts. The graph of the
step (``srlab export``) is run by ONNX Runtime and OpenVINO. Prints a table.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from sr_lab.artefacts.export import graphs
from sr_lab.base.memory import keep_pages
from sr_lab.base.threads import whole_threads
from sr_lab.data.camera import camera_clip
from sr_lab.images import read_image, to_tensor
from sr_lab.inference.clips import CausalRestorer, StreamedRestorer
from sr_lab.inference.engines import ENGINES, EngineNetwork, make_engine
from sr_lab.inference.runtimes import open_step
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.graph.network import GraphStep
from sr_lab.networks.graph.step import plain_step
from sr_lab.networks.temporal.flow import DISFlow
from sr_lab.networks.temporal.trusting import TrustingEDSR
from sr_lab.workflows.load import fetch_artefact


def network(name: str | None) -> Any:
    if name is not None:
        return fetch_artefact(name).network
    torch.manual_seed(0)
    image = EDSR(scale=4, num_blocks=8, num_features=32, value_range=1.0)
    made = TrustingEDSR(image=image, flow=DISFlow(enlarge=3), damping=0.9)
    torch.nn.init.normal_(made.recurrent.weight, std=0.01)
    return made.eval()


def frames(width: int, height: int, count: int) -> list[torch.Tensor]:
    import skimage

    photo = to_tensor(read_image(Path(skimage.__file__).parent / "data" / "astronaut.png"))
    side = max(width, height) * 3 // 2
    photo = torch.nn.functional.interpolate(photo, (side, side), mode="bicubic", align_corners=False).clamp(0, 1)
    clip = camera_clip(photo, key=(0, 0, 0), count=count, size=(height, width), motion="similarity", speed=3.0)
    return [frame[None] for frame in clip.frames]


def graph(causal: Any, target: str, folder: Path) -> Any:
    plain = plain_step(causal)
    model = graphs.onnx_bytes(plain)
    step = GraphStep(scale=plain.scale, num_channels=plain.num_channels, num_bytes=0, flow_enlarge=plain.flow_enlarge)
    (graphs.write_onnx if target == "onnx" else _openvino)(folder, model)
    step.compute = open_step(folder, target, threads=whole_threads())
    return step


def _openvino(folder: Path, model: bytes) -> None:
    graphs.write_openvino(folder, model, half=False)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 270))
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--restorer")
    given = parser.parse_args()
    keep_pages()
    causal, clip = network(given.restorer), frames(*given.size, given.frames)
    restorers = {"PyTorch": CausalRestorer(causal)}
    for name in [key for key, engine in ENGINES.items() if engine.available()]:
        restorers[f"engine={name}"] = CausalRestorer(causal)
        windows: Any = restorers[f"engine={name}"].windows
        windows.apply = EngineNetwork(windows.network, make_engine(windows.network, name, threads=whole_threads()))
    with tempfile.TemporaryDirectory() as scratch:
        for target in ("onnx", "openvino"):
            (folder := Path(scratch) / target).mkdir()
            restorers[f"export, {target}"] = CausalRestorer(graph(causal, target, folder))
        streams = {name: StreamedRestorer(restorer) for name, restorer in restorers.items()}
        taken: dict[str, list[float]] = {name: [] for name in streams}
        motion, apart = [], 0.0
        for number, low in enumerate(clip):
            shown = {}
            for name, stream in streams.items():
                begin = time.perf_counter()
                shown[name] = stream(low)
                taken[name].append(time.perf_counter() - begin)
            apart = max(apart, *(float((each - shown["PyTorch"]).abs().max()) for each in shown.values()))
            if number:
                begin = time.perf_counter()
                causal.motion(low, clip[number - 1])
                motion.append(time.perf_counter() - begin)
    base = statistics.median(taken["PyTorch"][2:])
    print(
        f"{given.size[0]}x{given.size[1]} x{causal.scale}, {whole_threads()} threads; frames at most {apart:.1g} apart"
    )
    print("| computed by | ms a frame | times PyTorch's speed |\n|---|---|---|")
    for name, seconds in taken.items():
        each = statistics.median(seconds[2:])
        print(f"| {name} | {1000 * each:.0f} | {base / each:.2f} |")
    print(f"| of it motion (DIS) | {1000 * statistics.median(motion):.0f} | |")


if __name__ == "__main__":
    main()
