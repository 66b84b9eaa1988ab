"""What the GPU study trains, and the bars that its figures are held against."""

from dataclasses import dataclass
from pathlib import Path

SPEED = ("edsr_baseline", "rdn", "rrdb", "gan", "diffusion", "loop")
_SMALL = [f"model.network.{size}" for size in ("num_blocks=1", "num_features=8", "growth=4")]
_DENOISER = ["model.network.denoiser.num_features=8", "model.network.denoiser.multipliers=[1]"]
_DENOISER += ["model.network.denoiser.num_blocks=1", "model.network.num_steps=1", "model.val_steps=1"]
_DENOISER += ["scheduler.num_warmup=2"]


@dataclass(frozen=True)
class Training:
    """One training of fixed length.

    Attributes:
        name: of run and results.
        minutes: its budget.
        settings: overrides of ``srlab train``; ``{runs}`` is the folder of the study's runs.
        toy: overrides of a toy version.
        needs: the training whose weights it starts from.
        degradation: that it is evaluated under; empty for the benchmarks' own bicubic images.
        milestones: shares of the run at which the learning rate is halved; none for warm-up and cosine.
        keep_weights: whether its weights are small enough to keep.
    """

    name: str
    minutes: float
    settings: tuple[str, ...]
    toy: tuple[str, ...]
    needs: str = ""
    degradation: str = ""
    milestones: tuple[float, ...] = ()
    keep_weights: bool = False

    def overrides(self, root: Path, tiny: bool) -> list[str]:
        """The overrides without speed and length."""
        lines = [text.replace("{runs}", str(root / "runs")) for text in self.settings]
        lines += [f"data.cache={root}/images", "pictures=0"]
        return [*lines, "data.batch_size=2", "data.crop=32", *self.toy] if tiny else lines

    def ways(self, tiny: bool) -> dict[str, list[str]]:
        """Overrides of the ways to train, the fastest first."""
        if tiny:
            return {"toy": ["data.images_on=device", "data.steps_per_batch=4"]}
        fast = ["speed=gpu"]
        return {
            "graphs": fast,
            "compiled": [*fast, "model.compile_network=true"],
            "eager": [*fast, "model.compile_network=false"],
        }

    def schedule(self, steps: int) -> list[str]:
        """Overrides that fit the learning rate to the number of steps."""
        if not self.milestones:
            return []
        places = "[" + ",".join(str(round(steps * share)) for share in self.milestones) + "]"
        return [f"scheduler.milestones={places}", f"model.critic_scheduler.milestones={places}"]


_EDSR = ("experiment=edsr_baseline_x4_t91_bsds400", "scheduler=warmup_cosine", "data.batch_size=64")
_EDSR += ("optimizer.lr=0.001", "model.gradient_clip=1.0", "+model.network.value_range=1.0")
_EDSR_TOY = ("model/network=edsr_tiny", "model.network.num_features=8")
_RDN = ("experiment=edsr_baseline_x4_t91_bsds400", "model/network=rdn", "scheduler=warmup_cosine")
_RDN += ("data.batch_size=32", "optimizer.lr=0.0004", "model.gradient_clip=1.0")
_RDN_TOY = tuple(f"model.network.{size}" for size in ("num_blocks=2", "num_layers=2", "growth=8", "num_features=8"))
_GAN_TOY = (*_SMALL, "model.critic.num_features=4")

TRAININGS = (
    Training("edsr_10", 10, _EDSR, _EDSR_TOY),
    Training("edsr_30", 30, _EDSR, _EDSR_TOY, keep_weights=True),
    Training("rdn_30", 30, _RDN, _RDN_TOY),
    Training("rrdb_10", 10, ("experiment=rrdb_x4_t91_bsds400", "model.gradient_clip=1.0"), tuple(_SMALL)),
    Training(
        "esrgan_15",
        15,
        ("experiment=esrgan_x4_t91_bsds400", "initial={runs}/rrdb_10/best"),
        _GAN_TOY,
        needs="rrdb_10",
        milestones=(0.5, 0.75, 0.875),
    ),
    Training("resshift_20", 20, ("experiment=resshift_x4_t91_bsds400", "monitor=val/lpips"), tuple(_DENOISER)),
    Training(
        "pmrf_20",
        20,
        ("experiment=pmrf_x4_t91_bsds400", "monitor=val/lpips", "model.network.mean.path={runs}/edsr_30/best"),
        tuple(_DENOISER),
        needs="edsr_30",
    ),
    Training(
        "realesrgan_15",
        15,
        (
            "experiment=realesrgan_x4_t91_bsds400",
            "initial={runs}/rrdb_10/best",
            "scheduler=warmup_cosine",
            "scheduler@model.critic_scheduler=warmup_cosine",
        ),
        _GAN_TOY,
        needs="rrdb_10",
        degradation="realesrgan",
    ),
    Training(
        "resshift_realesrgan_15",
        15,
        ("experiment=resshift_x4_t91_bsds400_realesrgan", "monitor=val/lpips"),
        tuple(_DENOISER),
        degradation="realesrgan",
    ),
)

# What, piece, path to its number, above or below, the bar.
BARS: list[tuple[str, str, tuple[str, ...], str, float]] = [
    ("EDSR-baseline step, times its eager float32", "speed_edsr_baseline", ("speedup",), "above", 5),
    ("RDN step, share of the bf16 matmul rate", "speed_rdn", ("peak_share",), "above", 0.35),
    ("RRDBNet step, share of the bf16 matmul rate", "speed_rrdb", ("peak_share",), "above", 0.35),
    *(
        (f"{case}: {what}, share of the step", f"speed_{case}", (key,), "below", bar)
        for case in SPEED[:-1]
        for what, key, bar in (("waiting for data", "data_share", 0.02), ("training loop", "loop_share", 0.05))
    ),
    ("realesrgan, images/s", "degradations", ("realesrgan", "images_s"), "above", 10_000),
    ("EDSR-baseline, 10 min: Set5 PSNR-Y", "evaluate_edsr_10", ("Set5", "psnr_y"), "above", 31.5),
    ("EDSR-baseline, 30 min: Set5 PSNR-Y", "evaluate_edsr_30", ("Set5", "psnr_y"), "above", 31.7),
    ("RDN, 30 min: Set5 PSNR-Y (MemNet)", "evaluate_rdn_30", ("Set5", "psnr_y"), "above", 31.74),
    ("RDN, 30 min: Set14 PSNR-Y (MemNet)", "evaluate_rdn_30", ("Set14", "psnr_y"), "above", 28.26),
    ("RDN, 30 min: BSD100 PSNR-Y (MemNet)", "evaluate_rdn_30", ("BSD100", "psnr_y"), "above", 27.40),
    ("ESRGAN, 15 min: Set5 LPIPS-alex", "evaluate_esrgan_15", ("Set5", "lpips"), "below", 0.11),
    ("ESRGAN, 15 min: Set5 LR consistency, dB", "evaluate_esrgan_15", ("Set5", "lr_consistency"), "above", 35),
    ("ResShift, 20 min: Set5 LPIPS-alex", "evaluate_resshift_20", ("Set5", "lpips"), "below", 0.14),
    ("ResShift, 20 min: Set5 LR consistency, dB", "evaluate_resshift_20", ("Set5", "lr_consistency"), "above", 35),
    ("PMRF, 20 min: Set5 LPIPS-alex", "evaluate_pmrf_20", ("Set5", "lpips"), "below", 0.14),
    ("PMRF, 20 min: Set5 LR consistency, dB", "evaluate_pmrf_20", ("Set5", "lr_consistency"), "above", 35),
]
