"""What the study needs beside the trainings: held-out camera clips, and the per-frame start of equal cost.

    python experiments/temporal/prepare.py clips ../shared/datasets/benchmark/BSD100/x4/HR CLIPS
    python experiments/temporal/prepare.py deepen STEM DEEPER

``clips`` writes camera paths over photos that no training has seen, as folders of PNG: in turn a pan, one with a moving
foreground, a turning and zooming camera, and one that stands still in its second half. ``deepen`` gives an EDSR a
further residual block that adds zero: the same images, at the cost that the causal network has.
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
NUM_CLIPS, COUNT, SIDE, SPEED = 12, 16, 256, 6.0


def write_clips(photos: Path, folder: Path) -> None:
    """Folders of frames, one a clip."""
    files = [file for file in list_images(photos) if min(read_image(file).shape[:2]) >= SIDE + 8]
    for number in range(NUM_CLIPS):
        photo, other = (to_tensor(read_image(files[place % len(files)])) for place in (number, number + NUM_CLIPS))
        name, motion, event = KINDS[number % len(KINDS)]
        clip = camera_clip(
            photo, key=(15, 0, number), count=COUNT, size=(SIDE, SIDE), motion=motion, event=event, speed=SPEED,
            other=other,
        )  # fmt: skip
        for time, frame in enumerate(clip.frames):
            write_image(folder / f"{number:02d}_{name}" / f"{time:03d}.png", to_array(frame[None]))


def deepen(source: Path, target: Path) -> None:
    """The artefact at ``source`` with one more residual block, which adds zero."""
    artefact = load_artefact(source)
    node = dict(artefact.config["model"]["network"])
    blocks = int(node["num_blocks"])
    torch.manual_seed(0)
    network = build_network({**node, "num_blocks": blocks + 1})
    state = {}
    for key, value in artefact.network.state_dict().items():
        last = f"body.{blocks}."
        state[key.replace(last, f"body.{blocks + 1}.") if key.startswith(last) else key] = value
    own = network.state_dict()
    for key in own.keys() - state.keys():  # the new block: its last convolution adds zero
        state[key] = own[key]
    new = [key for key in sorted(own) if key.startswith(f"body.{blocks}.")]
    last_convolution = new[-1].rpartition(".")[0]
    state |= {key: torch.zeros_like(own[key]) for key in new if key.startswith(last_convolution)}
    network.load_state_dict(state)
    low = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(network.eval()(low), artefact.network.eval()(low))
    config = {**artefact.config, "model": {**artefact.config["model"], "network": {**node, "num_blocks": blocks + 1}}}
    save_artefact(target, network, config=config, metadata=artefact.metadata)


if __name__ == "__main__":
    {"clips": write_clips, "deepen": deepen}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
