"""What of this study needs a GPU: longer trainings on clips, and BasicVSR's published weights on the whole of Vid4.

    python experiments/temporal/gpu.py runs/gpu_study/clips
    python experiments/temporal/gpu.py runs/tiny --tiny        # every line at two steps on two small clips, on a CPU

Every line is a command of ``srlab`` that goes on where it was stopped, so this may be called again; a report that is
there is not made again. About two hours of one GPU. Needs the research data sets (SR_LAB_SHARED); SR_LAB_BASICVSR names
the file of BasicVSR's weights for BI, without which that line is left out.
"""

import os
import subprocess
import sys
from pathlib import Path

from sr_lab.images import list_images, read_image, write_image

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("SR_LAB_SHARED", ROOT.parent / "shared")).resolve()
FAST = ["trainer.precision=bf16-mixed", "model.channels_last=true", "data.num_workers=12", "tracking=none"]
IMAGE = ["num_blocks=16", "num_features=64"]
CLIPS = ["experiment=recurrent_x4_clips", *FAST, "data.batch_size=16", "data.crop=256"]
CLIPS += [
    "max_steps=40000",
    "val_every=4000",
    "checkpoint_every=500",
    "scheduler.num_warmup=500",
    "model.ema_decay=0.999",
]
"""Clips of 30 frames, back-propagation through 6; flow by DIS on the host."""
TINY = ["trainer.precision=32-true", "data.num_workers=0", "data.batch_size=2", "data.crop=64", "max_steps=2"]
TINY += ["val_every=1", "checkpoint_every=1", "scheduler.num_warmup=1"]
TINY_CLIPS = ["data.clips.frames=2", "data.clips.val_frames=2", "data.clips.val_crop=64"]
"""What replaces these with ``--tiny``."""


def commands(root: Path, *, tiny: bool = False) -> list[list[str]]:
    """The lines, in their order."""
    stem, deeper, vid4 = root / "stem", root / "deeper", SHARED / "datasets/video/Vid4"
    if tiny:
        vid4 = root / "clips"
    image = [f"model.network.{size}" for size in IMAGE]
    srlab = [sys.executable, "-m", "sr_lab.cli"]
    lines = [
        [*srlab, "train", "data=t91_bsds400", "scale=4", "model/network=edsr_tiny", *image, "losses=[charbonnier]",
         "+model.network.value_range=1.0", *FAST, "max_steps=40000", "val_every=4000", "checkpoint_every=1000",
         "data.batch_size=64", "data.crop=192", "data.small=skip", "optimizer.lr=0.001", "name=stem", f"output={stem}"],
        [sys.executable, str(ROOT / "experiments/temporal/prepare.py"), "deepen", str(stem / "best"), str(deeper), "2"],
        [*srlab, "train", *CLIPS, "name=per_frame", f"output={root}/per_frame", f"initial={deeper}",
         "model/network=edsr_tiny", "~model.network.image", "~model.network.truncate", "~model.network.damping",
         "+model.network.value_range=1.0",
         "model.network.num_blocks=18", "model.network.num_features=64"],
        [*srlab, "train", *CLIPS, "name=recurrent", f"output={root}/recurrent", f"initial={stem}/best",
         *(f"model.network.image.{size}" for size in IMAGE)],
        [*srlab, "train", *CLIPS, "name=spynet", f"output={root}/spynet", f"initial={stem}/best",
         *(f"model.network.image.{size}" for size in IMAGE), "callbacks=[frozen_flow]",
         "~model.network.flow.enlarge", "model.network.flow._target_=sr_lab.networks.temporal.flow.SPyNet"],
    ]  # fmt: skip
    if tiny:
        lines = [
            [*line, *TINY, *(TINY_CLIPS if CLIPS[0] in line else [])] if "train" in line else line for line in lines
        ]
    restorers = {name: root / name / "best" for name in ("per_frame", "recurrent", "spynet")}
    if weights := os.environ.get("SR_LAB_BASICVSR"):
        restorers["basicvsr"] = Path(weights)
    for name, restorer in restorers.items():
        report = root / "reports" / name
        if not (report / "summary.json").exists():
            lines.append([*srlab, "evaluate", f"restorer={restorer}", f"benchmark={vid4}", "scale=4", "protocol=vid4_y",
                          "metrics=[psnr,ssim,warping_error]", f"report={report}"])  # fmt: skip
    return lines


def small_clips(folder: Path) -> None:
    """Two clips of three frames, cut out of Set5."""
    for number, file in enumerate(list_images(SHARED / "datasets/benchmark/Set5/x4/HR")[:2]):
        image = read_image(file)
        for time in range(3):
            write_image(folder / f"clip{number}" / f"{time}.png", image[4 * time :, 2 * time :][:96, :128])


def main() -> int:
    """Runs them; the exit code is that of the first that fails."""
    root, tiny = Path(sys.argv[1]).resolve(), sys.argv[2:] == ["--tiny"]
    if tiny:
        small_clips(root / "clips")
    made = (root / "deeper").exists()
    for line in commands(root, tiny=tiny):
        if made and "deepen" in line:
            continue
        print(" ".join(line), flush=True)
        if code := subprocess.run(line, check=False, cwd=ROOT).returncode:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
