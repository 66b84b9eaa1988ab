"""What the study needs beside the trainings: held-out camera clips, and the per-frame start of equal cost.

    python experiments/temporal/prepare.py clips ../shared/datasets/benchmark/BSD100/x4/HR CLIPS
    python experiments/temporal/prepare.py deepen STEM DEEPER 4

``clips`` writes camera paths over photos that no training has seen, as folders of PNG: in turn a pan, one with a moving
foreground, a turning and zooming camera, and one that stands still in its second half; then four with crowds, or that
bend. ``deepen`` gives an EDSR further residual blocks that add zero (4 here): the same images, at the cost that the
causal network has.
"""

import sys
from pathlib import Path

import torch

from sr_lab.artefacts.artefact import build_network, load_artefact, save_artefact
from sr_lab.data.camera import Event, Motion, camera_clip
from sr_lab.images import list_images, read_image, to_array, to_tensor, write_image

KINDS: list[tuple[str, Motion, Event]] = [
    ("pan", "pan", "none"),
    ("foreground", "pan", "foreground"),
    ("turn", "similarity", "none"),
    ("still", "pan", "still"),
]
CROWDS: list[tuple[str, Motion, Event]] = [
    ("crowd", "pan", "crowd"),
    ("crowd", "similarity", "crowd"),
    ("bend", "bend", "none"),
    ("crowd", "bend", "crowd"),
]
NUM_CLIPS, COUNT, SIDE, SPEED, FIGURES = 12, 16, 256, 6.0, 3


def write_clips(photos: Path, folder: Path) -> None:
    """Folders of frames, one a clip."""
    files = [file for file in list_images(photos) if min(read_image(file).shape[:2]) >= SIDE + 8]
    for number, (name, motion, event) in enumerate([*KINDS * (NUM_CLIPS // len(KINDS)), *CROWDS]):
        places = [number, *range(number + NUM_CLIPS, number + (1 + FIGURES) * NUM_CLIPS, NUM_CLIPS)]
        photo, *others = (to_tensor(read_image(files[place % len(files)])) for place in places)
        clip = camera_clip(
            photo, key=(15, 0, number), count=COUNT, size=(SIDE, SIDE), motion=motion, event=event, speed=SPEED,
            other=others[0], others=others,
        )  # fmt: skip
        for time, frame in enumerate(clip.frames):
            write_image(folder / f"{number:02d}_{name}" / f"{time:03d}.png", to_array(frame[None]))


def deepen(source: Path, target: Path, more: int = 1) -> None:
    """The artefact at ``source`` with so many more residual blocks, which add zero."""
    artefact = load_artefact(source)
    node = dict(artefact.config["model"]["network"])
    blocks = int(node["num_blocks"])
    torch.manual_seed(0)
    network = build_network({**node, "num_blocks": blocks + more})
    state = network.state_dict()
    for place in range(blocks, blocks + more):  # the last convolution of a new block adds zero
        state |= {
            key: torch.zeros_like(value) for key, value in state.items() if key.startswith(f"body.{place}.body.2.")
        }
    for key, value in artefact.network.state_dict().items():
        last = f"body.{blocks}."
        state[key.replace(last, f"body.{blocks + more}.") if key.startswith(last) else key] = value
    network.load_state_dict(state)
    low = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(network.eval()(low), artefact.network.eval()(low))
    node["num_blocks"] = blocks + more
    config = {**artefact.config, "model": {**artefact.config["model"], "network": node}}
    save_artefact(target, network, config=config, metadata=artefact.metadata)


if __name__ == "__main__":
    command, source, target, *more = sys.argv[1:]
    {"clips": write_clips, "deepen": deepen}[command](Path(source), Path(target), *map(int, more))
