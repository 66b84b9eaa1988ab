"""Speed of the degradations on one CPU core, beside bare library calls measured in the same run.

    python benchmarks/degradations.py            # presets, operations, JPEG's difference
    python benchmarks/degradations.py --gpu      # images/s of a preset on a GPU too

Times are CPU seconds of this process (one thread), the least of several rounds: on a shared machine they are steadier
than the clock, and a core that is ours alone gives the same. Drawing of parameters and kernels is included.
"""

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from sr_lab.degradations.base import keyed_generator
from sr_lab.degradations.blur import Blur
from sr_lab.degradations.colour import Banding, ColourShift
from sr_lab.degradations.compression import Avif, Jpeg, WebP
from sr_lab.degradations.lines import Stripes
from sr_lab.degradations.noise import GaussianNoise, PoissonNoise, Speckle
from sr_lab.degradations.operation import Operation
from sr_lab.degradations.resize import RandomResize
from sr_lab.degradations.sharpen import Sharpen

CONF = Path(__file__).resolve().parents[1] / "conf"
BARS = {"realesrgan": 85, "realesrgan_sharp": 50, "bsrgan": 75}


def photos(count: int, side: int = 256) -> torch.Tensor:
    """(count, 3, side, side): noise with the 1/f spectrum of photos, values k/255."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) + 1 / side
    spectrum = np.fft.rfft2(np.random.default_rng(0).standard_normal((count, 3, side, side))) / frequency**1.1
    images = np.fft.irfft2(spectrum, s=(side, side))
    images = 0.5 + images / images.std() / 5
    return torch.from_numpy(np.rint(images.clip(0, 1) * 255) / 255).float()


def preset(name: str, scale: int = 4) -> Operation:
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose(overrides=[f"+degradation={name}", f"+scale={scale}"])
    return instantiate(OmegaConf.to_container(config, resolve=True)["degradation"], _convert_="all")


def least(call: Callable[[], object], rounds: int) -> float:
    """CPU seconds of the fastest of several rounds, after one to warm up."""
    call()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def bare_realesrgan(images: list[np.ndarray], sharp: bool) -> None:
    """Library calls in the distribution of the preset: NumPy's Poisson, OpenCV's filter2D, resize and JPEG."""
    rng = np.random.default_rng(0)
    for image in images:
        high = image
        if sharp:
            residual = high - cv2.GaussianBlur(high, (51, 51), 0)
            soft = cv2.GaussianBlur((np.abs(residual) > 10 / 255).astype(np.float32), (51, 51), 0)
            high = soft * np.clip(high + 0.5 * residual, 0, 1) + (1 - soft) * high
        x = high
        for stage in range(2):
            if stage == 0 or rng.random() < 0.8:
                x = cv2.filter2D(x, -1, bare_kernel(rng, 3.0 if stage == 0 else 1.5))
            low, top, up, down = ((0.15, 1.5, 0.2, 0.7), (0.3, 1.2, 0.3, 0.4))[stage]
            draw = rng.random()
            factor = rng.uniform(1, top) if draw < up else rng.uniform(low, 1) if draw < up + down else 1.0
            base = x.shape[0] if stage == 0 else 64
            size = int(base * factor)
            x = cv2.resize(x, (size, size), interpolation=int(rng.choice([cv2.INTER_AREA, 1, 2])))
            if rng.random() < 0.5:
                x = x + cv2.randn(np.empty_like(x), 0, rng.uniform(1, 30) / 255)
            else:
                x = x + (rng.poisson(np.clip(x, 0, 1) * 256) / 256 - x).astype(np.float32) * np.float32(
                    rng.uniform(0.05, 3)
                )
            if stage == 0:
                x = bare_jpeg(x, int(rng.integers(30, 96)))
        x = cv2.resize(x, (64, 64), interpolation=int(rng.choice([cv2.INTER_AREA, 1, 2])))
        if rng.random() < 0.8:
            x = cv2.filter2D(x, -1, bare_kernel(rng, 3.0))
        bare_jpeg(x, int(rng.integers(30, 96)))


def bare_bsrgan(images: list[np.ndarray]) -> None:
    """Library calls in the distribution of ``bsrgan``; the camera is its noise, two powers and three filters."""
    rng = np.random.default_rng(0)
    modes = [cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA]
    for image in images:
        x = image
        if rng.random() < 0.25:
            x = cv2.resize(x, (128, 128), interpolation=int(rng.choice(modes)))
        for step in _bsrgan_order(rng):
            if step in ("blur1", "blur2"):
                x = cv2.filter2D(x, -1, bare_kernel(rng, 2.8, largest_half=12))
            elif step == "second" and rng.random() < 0.75:
                size = max(1, int(x.shape[0] / rng.uniform(1, 8)))
                x = cv2.resize(x, (size, size), interpolation=int(rng.choice(modes)))
            elif step == "second":
                x = np.ascontiguousarray(cv2.filter2D(x, -1, bare_kernel(rng, 2.4, largest_half=12))[::4, ::4])
            elif step == "third":
                x = cv2.resize(x, (64, 64), interpolation=int(rng.choice(modes)))
            elif step == "noise":
                x = x + cv2.randn(np.empty_like(x), 0, rng.uniform(2, 25) / 255)
            elif step == "jpeg" and rng.random() < 0.9:
                x = bare_jpeg(x, int(rng.integers(30, 96)))
            elif step == "camera" and rng.random() < 0.25:
                raw = cv2.pow(np.clip(x, 0, 1), 2.2)
                raw = raw + cv2.randn(np.empty_like(raw), 0, 0.02)
                taps = np.full((3, 3), 0.25, dtype=np.float32)
                x = cv2.pow(np.clip(cv2.filter2D(raw, -1, taps), 0, 1), 1 / 2.2)
        bare_jpeg(x, int(rng.integers(30, 96)))


def _bsrgan_order(rng: np.random.Generator) -> list[str]:
    """Seven steps in random order, the second downscale before the third."""
    order = list(rng.permutation(["blur1", "blur2", "second", "third", "noise", "jpeg", "camera"]))
    first, last = order.index("second"), order.index("third")
    if first > last:
        order[first], order[last] = order[last], order[first]
    return order


def bare_kernel(rng: np.random.Generator, largest: float, largest_half: int = 10) -> np.ndarray:
    """A Gaussian of the size and sigma that the preset draws, isotropic or not."""
    half = int(rng.integers(3, largest_half + 1))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    one, two = rng.uniform(0.2, largest, 2)
    if rng.random() < 0.5:
        two = one
    cos, sin = math.cos(angle := rng.uniform(0, math.pi)), math.sin(angle)
    kernel = np.exp(-0.5 * (((x * cos + y * sin) / one) ** 2 + ((y * cos - x * sin) / two) ** 2))
    return (kernel / kernel.sum()).astype(np.float32)


def bare_jpeg(x: np.ndarray, quality: int) -> np.ndarray:
    _, data = cv2.imencode(".jpg", cv2.convertScaleAbs(x, alpha=255), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR) * np.float32(1 / 255)


def presets(rounds: int) -> None:
    high = photos(48)
    arrays = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in high]
    floors = {
        "realesrgan": least(lambda: bare_realesrgan(arrays, False), rounds),
        "realesrgan_sharp": least(lambda: bare_realesrgan(arrays, True), rounds),
        "bsrgan": least(lambda: bare_bsrgan(arrays), rounds),
    }
    print("\npreset, 256x256 -> 64x64      images/s a core   bar   bare library calls   ratio   batch 1")
    names = ["realesrgan", "realesrgan_sharp", "bsrgan", "severity", "blind_gaussian", "document", "satellite"]
    for name in names:
        pipeline = preset(name)

        def run(pipeline: Operation = pipeline, step: int = 12) -> None:
            for start in range(0, 48, step):
                params = pipeline.draw_keyed([(0, 0, index) for index in range(start, start + step)])
                pipeline.pair(high[start : start + step], params)

        rate = 48 / least(run, rounds)
        single = 48 / least(lambda run=run: run(step=1), rounds)
        floor = 48 / floors[name] if name in floors else None
        beside = f"{BARS[name]:6.0f}{floor:21.1f}{rate / floor:8.2f}" if floor is not None else " " * 35
        print(f"{name:28}{rate:17.1f}{beside}{single:10.1f}")


def operations(rounds: int) -> None:
    high = photos(8)
    array = np.ascontiguousarray(high[0].permute(1, 2, 0).numpy())
    bytes_ = cv2.convertScaleAbs(array, alpha=255)
    rng = np.random.default_rng(0)
    wide = bare_kernel(rng, 3.0)
    wide = cv2.resize(wide, (21, 21)) * np.float32(0.3)
    window = cv2.getGaussianKernel(21, 2, cv2.CV_32F)

    def coded(suffix: str, flag: int) -> Callable[[], object]:
        return lambda: cv2.imdecode(cv2.imencode(suffix, bytes_, [flag, 60])[1], cv2.IMREAD_COLOR)

    def resized(mode: int) -> Callable[[], object]:
        return lambda: cv2.resize(array, (179, 179), interpolation=mode)

    def torch_resized(mode: str) -> Callable[[], object]:
        image = high[:1]
        return lambda: torch.nn.functional.interpolate(image, (179, 179), mode=mode, antialias=True)

    def pillow_lanczos() -> None:
        from PIL import Image

        for plane in high[0].numpy():
            Image.fromarray(plane).resize((179, 179), Image.Resampling.LANCZOS)

    def bare_sharpen() -> None:
        residual = array - cv2.GaussianBlur(array, (51, 51), 0)
        cv2.GaussianBlur((np.abs(residual) > 10 / 255).astype(np.float32), (51, 51), 0)

    filter_2d = ("cv2.filter2D 21x21", lambda: cv2.filter2D(array, -1, wide))
    randn = ("cv2.randn", lambda: cv2.randn(np.empty_like(array), 0, 1))
    rows: list[tuple[str, Operation, tuple[str, Callable[[], object]]]] = [
        (
            "blur isotropic 21",
            Blur(kinds={"isotropic": 1}, sizes=21),
            ("cv2.sepFilter2D", lambda: cv2.sepFilter2D(array, -1, window, window)),
        ),
        ("blur anisotropic 21", Blur(kinds={"anisotropic": 1}, sizes=21), filter_2d),
        ("blur generalised 21", Blur(kinds={"generalised_anisotropic": 1}, sizes=21), filter_2d),
        ("blur plateau 21", Blur(kinds={"plateau_anisotropic": 1}, sizes=21), filter_2d),
        ("blur sinc 21", Blur(kinds={"sinc": 1}, sizes=21), filter_2d),
        ("blur motion 21", Blur(kinds={"motion": 1}, sizes=21), filter_2d),
        ("blur defocus 21", Blur(kinds={"defocus": 1}, sizes=21), filter_2d),
        ("resize area", RandomResize(factor=0.7, modes={"area": 1}), ("cv2.resize", resized(cv2.INTER_AREA))),
        ("resize bilinear", RandomResize(factor=0.7, modes={"bilinear": 1}), ("cv2.resize", resized(cv2.INTER_LINEAR))),
        ("resize cubic", RandomResize(factor=0.7, modes={"cubic": 1}), ("cv2.resize", resized(cv2.INTER_CUBIC))),
        (
            "resize bicubic (MATLAB)",
            RandomResize(factor=0.7, modes={"bicubic": 1}),
            ("torch antialias", torch_resized("bicubic")),
        ),
        ("resize lanczos", RandomResize(factor=0.7, modes={"lanczos": 1}), ("Pillow, 3 planes", pillow_lanczos)),
        ("Gaussian noise", GaussianNoise(sigma=10), randn),
        ("Gaussian noise, grey", GaussianNoise(sigma=10, colours={"grey": 1}), randn),
        ("Gaussian noise, correlated", GaussianNoise(sigma=10, colours={"correlated": 1}), randn),
        ("Poisson noise", PoissonNoise(strength=1.0), ("numpy Poisson", lambda: rng.poisson(array * 256))),
        ("speckle", Speckle(sigma=0.1), randn),
        ("JPEG", Jpeg(quality=60), ("cv2 encode + decode", coded(".jpg", cv2.IMWRITE_JPEG_QUALITY))),
        ("WebP", WebP(quality=60), ("cv2 encode + decode", coded(".webp", cv2.IMWRITE_WEBP_QUALITY))),
        ("AVIF", Avif(quality=60), ("cv2 encode + decode", coded(".avif", cv2.IMWRITE_AVIF_QUALITY))),
        ("unsharp mask", Sharpen(), ("2 cv2.GaussianBlur", bare_sharpen)),
        ("colour shift", ColourShift(gamma=0.7, gain=0.9, offset=5), ("cv2.pow", lambda: cv2.pow(array, 0.7))),
        ("banding", Banding(levels=20), ("numpy rint", lambda: np.rint(array * 20) / 20)),
        ("stripes", Stripes(sigma=0.05), ("numpy multiply", lambda: np.clip(array * array[:1], 0, 1))),
    ]
    print("\noperation, 256x256x3        ms   floor ms   ratio   floor")
    for name, op, (library, floor) in rows:
        slow = 3 if name == "AVIF" else rounds
        columns = op.draw(1, keyed_generator(0))
        sample = {key: values[0].tolist() for key, values in columns.items()}

        def draw_and_run(op: Operation = op, sample: dict[str, object] = sample) -> None:
            for _ in range(8):
                op.run(array, sample, high=(256, 256))

        def run_floor(floor: Callable[[], object] = floor) -> None:
            for _ in range(8):
                floor()

        ours, bare = least(draw_and_run, slow) / 8 * 1e3, least(run_floor, slow) / 8 * 1e3
        print(f"{name:26}{ours:7.3f}{bare:11.3f}{ours / bare:8.2f}   {library}")


def jpeg_difference() -> None:
    from kornia.enhance import jpeg_codec_differentiable

    high = photos(6)
    print("\nJPEG, mean difference to libjpeg-turbo in levels\nquality     ours   kornia")
    for quality in (10, 30, 50, 75, 90, 95):
        op = Jpeg(quality=quality)
        params = op.draw(len(high), keyed_generator(0))
        real = op.apply(high, params)
        ours = (op.apply_canvas(high, op.checked(params, len(high))) - real).abs().mean() * 255
        kornia = (jpeg_codec_differentiable(high, torch.tensor([float(quality)])) - real).abs().mean() * 255
        print(f"{quality:7}{ours:9.2f}{kornia:9.2f}")


def gpu(batch: int = 256) -> None:
    if not torch.cuda.is_available():
        print("\nno GPU here: images/s on one are not measured")
        return
    high = photos(64).repeat(batch // 64, 1, 1, 1).cuda()
    print(f"\npreset on {torch.cuda.get_device_name()}, batch {batch}, images/s by the clock")
    for name in ("realesrgan", "realesrgan_sharp", "bsrgan"):
        pipeline = preset(name)
        for step in range(8):
            if step == 3:
                torch.cuda.synchronize()
                start = time.perf_counter()
            pipeline.pair(high, pipeline.draw_keyed([(0, step, index) for index in range(batch)]))
        torch.cuda.synchronize()
        print(f"{name:20}{5 * batch / (time.perf_counter() - start):10.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    presets(arguments.rounds)
    operations(arguments.rounds)
    jpeg_difference()
    if arguments.gpu:
        gpu()
