"""MATLAB's bicubic: the given LR images bit for bit, the float mode against dense matrices written from the book."""

import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from sr_lab.images import resize_bicubic, resize_bicubic_uint8
from sr_lab.images.resize import _as_integers, _contributions

SETS = [("Set5", 2), ("Set5", 3), ("Set5", 4), ("Set14", 2), ("Set14", 3), ("Set14", 4), ("BSD100", 2), ("BSD100", 4)]


def keys_kernel(t: float) -> float:
    t = abs(t)
    if t <= 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def dense_matrix(num_in: int, num_out: int, factor: float, border: str) -> np.ndarray:
    """The documented algorithm with plain loops and MATLAB's one-based coordinates."""
    matrix = np.zeros((num_out, num_in))
    stretch = min(factor, 1.0)
    for row in range(num_out):
        centre = (row + 1) / factor + 0.5 * (1 - 1 / factor)
        reach = math.ceil(2 / stretch) + 1
        taps = {
            j: keys_kernel((centre - j) * stretch) for j in range(math.floor(centre) - reach, math.ceil(centre) + reach)
        }
        total = sum(taps.values())
        for j, weight in taps.items():
            position = j - 1
            if border == "replicate":
                position = min(max(position, 0), num_in - 1)
            else:
                while not 0 <= position < num_in:
                    position = -1 - position if position < 0 else 2 * num_in - 1 - position
            matrix[row, position] += weight / total
    return matrix


def read(path: Path) -> Tensor:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)[None]


@pytest.mark.parametrize(("name", "scale"), SETS)
def test_given_low_images_are_reproduced_bit_for_bit(shared: Path, name: str, scale: int) -> None:
    folder = shared / "datasets" / "benchmark" / name / f"x{scale}"
    paths = sorted((folder / "HR").glob("*.png"))
    assert len(paths) == {"Set5": 5, "Set14": 14, "BSD100": 100}[name]
    wrong = []
    for path in paths:
        low = resize_bicubic_uint8(read(path), scale=1 / scale)
        if not torch.equal(low, read(folder / "LR" / path.name)):
            wrong.append(path.name)
    assert not wrong


def test_given_low_image_is_reproduced_from_a_size(shared: Path) -> None:
    folder = shared / "datasets" / "benchmark" / "Set14" / "x3"
    low = read(folder / "LR" / "img_002.png")
    size = (low.shape[2], low.shape[3])
    assert torch.equal(resize_bicubic_uint8(read(folder / "HR" / "img_002.png"), size=size), low)


@pytest.mark.parametrize("border", ["symmetric", "replicate"])
@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((48, 60), (24, 30)), ((48, 60), (16, 20)), ((48, 60), (12, 15)), ((13, 9), (26, 18)), ((13, 9), (39, 27)),
        ((13, 9), (52, 36)), ((40, 33), (17, 50)), ((7, 90), (7, 31)), ((3, 2), (1, 9)), ((5, 4), (1, 1)),
        ((1, 1), (4, 3)), ((170, 200), (101, 77)),
    ],
)  # fmt: skip
def test_float_mode_matches_dense_matrices(shape: tuple[int, int], size: tuple[int, int], border: str) -> None:
    image = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    rows = dense_matrix(shape[0], size[0], size[0] / shape[0], border)
    columns = dense_matrix(shape[1], size[1], size[1] / shape[1], border)
    expected = np.einsum("oh,bchw,pw->bcop", rows, image.double().numpy(), columns, optimize=True)
    restored = resize_bicubic(image, size=size, border=border)
    assert restored.dtype == torch.float32
    assert restored.is_contiguous()
    np.testing.assert_allclose(restored.numpy(), expected, rtol=0, atol=1e-6)
    precise = resize_bicubic(image.double(), size=size, border=border)
    np.testing.assert_allclose(precise.numpy(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("scale", [0.5, 1 / 3, 0.37, 0.9, 1.0, 1.7, 2, 3.0])
def test_a_scale_keeps_its_phase_where_the_length_is_rounded_up(scale: float) -> None:
    image = torch.rand(1, 1, 23, 31, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    size = (math.ceil(23 * scale), math.ceil(31 * scale))
    expected = (
        dense_matrix(23, size[0], scale, "symmetric")
        @ image[0, 0].numpy()
        @ dense_matrix(31, size[1], scale, "symmetric").T
    )
    np.testing.assert_allclose(resize_bicubic(image, scale=scale)[0, 0].numpy(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("num", range(2, 64))
def test_inverse_integer_scale_adds_no_pixel(num: int) -> None:
    assert resize_bicubic(torch.zeros(1, 1, 7 * num, num), scale=1 / num).shape == (1, 1, 7, 1)


@pytest.mark.parametrize(
    "shape", [((36, 45), (12, 15)), ((36, 45), (18, 9)), ((37, 23), (16, 61)), ((12, 10), (36, 40))]
)
def test_exact_mode_rounds_between_the_passes_and_shrinks_the_smaller_scale_first(
    shape: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    (height, width), size = shape
    image = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    rows = dense_matrix(height, size[0], size[0] / height, "replicate")
    columns = dense_matrix(width, size[1], size[1] / width, "replicate")
    values = image.double().numpy()
    passes = [("oh,bchw->bcow", rows), ("pw,bchw->bchp", columns)]
    for equation, matrix in passes if size[0] / height <= size[1] / width else passes[::-1]:
        values = np.einsum(equation, matrix, values, optimize=True)
        values = np.clip(np.floor(np.round(values, 9) + 0.5), 0, 255)
    assert torch.equal(resize_bicubic_uint8(image, size=size), torch.from_numpy(values).to(torch.uint8))


@pytest.mark.parametrize("factor", [1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 7, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0])
def test_integer_weights_cannot_lose_a_bit(factor: float) -> None:
    _, weights = _contributions(840, round(840 * factor), factor, "replicate")
    found = _as_integers(weights, factor)
    assert found is not None
    numerators, divisor = found
    np.testing.assert_allclose(numerators / divisor, weights, rtol=0, atol=1e-12)
    unit = 1.0 if divisor > 1 else 2.0**-14
    assert np.array_equal(numerators, np.rint(numerators / unit) * unit)
    smallest = np.gcd.reduce(np.rint(numerators / unit).astype(np.int64), axis=None) * unit
    assert np.abs(numerators).sum(axis=1).max() * 255 / smallest < 2**24
    assert divisor <= 2**14


@pytest.mark.parametrize("scale", [1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 8, 0.45, 2, 3])
def test_exact_mode_keeps_constants_and_saturates(scale: float) -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 256, 1, 1).expand(1, 256, 24, 24)
    assert torch.equal(resize_bicubic_uint8(levels, scale=scale)[0, :, 0, 0], torch.arange(256, dtype=torch.uint8))
    edge = torch.zeros(1, 1, 24, 24, dtype=torch.uint8)
    edge[..., 12:] = 255
    restored = resize_bicubic_uint8(edge, scale=scale)
    assert restored.min() == 0
    assert restored.max() == 255


@pytest.mark.parametrize("arguments", [{"scale": 0.37}, {"scale": 0.5}, {"scale": 2.0}, {"size": (4, 13)}])
@pytest.mark.parametrize("border", ["symmetric", "replicate"])
def test_gradients(arguments: dict[str, object], border: str) -> None:
    image = torch.rand(2, 1, 6, 5, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(2))

    def resize(x: Tensor) -> Tensor:
        return resize_bicubic(x, border=border, **arguments)  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(resize, image)
    assert torch.autograd.gradgradcheck(resize, image)


def test_training_works_after_weights_were_made_in_inference_mode() -> None:
    with torch.inference_mode():
        resize_bicubic(torch.rand(1, 1, 19, 29), scale=0.5)
    image = torch.rand(1, 1, 19, 29, requires_grad=True)
    resize_bicubic(image, scale=0.5).sum().backward()
    assert image.grad is not None
    assert image.grad.sum().item() == pytest.approx(10 * 15, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    image = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(4)).to(dtype)
    assert torch.equal(resize_bicubic(image, scale=0.25), resize_bicubic(image.float(), scale=0.25).to(dtype))


def test_neither_autocast_nor_reduced_matmul_precision_changes_the_result() -> None:
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(5))
    levels = torch.randint(0, 256, (1, 3, 256, 256), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    expected, exact = resize_bicubic(image, scale=0.25), resize_bicubic_uint8(levels, scale=0.25)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        reduced, reduced_exact = resize_bicubic(image, scale=0.25), resize_bicubic_uint8(levels, scale=0.25)
    finally:
        torch.set_float32_matmul_precision(before)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast, autocast_exact = resize_bicubic(image, scale=0.25), resize_bicubic_uint8(levels, scale=0.25)
    for restored in (reduced, autocast):
        assert restored.dtype == torch.float32
        torch.testing.assert_close(restored, expected, rtol=0, atol=1e-6)
    assert torch.equal(reduced_exact, exact)
    assert torch.equal(autocast_exact, exact)


def test_layout_of_the_input_does_not_matter() -> None:
    image = torch.rand(2, 3, 30, 42, generator=torch.Generator().manual_seed(6))
    expected = resize_bicubic(image, scale=0.5)
    assert torch.equal(resize_bicubic(image.contiguous(memory_format=torch.channels_last), scale=0.5), expected)
    assert torch.equal(resize_bicubic(torch.cat([image, image], -1)[..., :42], scale=0.5), expected)


class Resize(torch.nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return resize_bicubic(image, scale=3)


def test_exported_program_takes_any_batch_and_size() -> None:
    dimensions = {"image": {0: torch.export.Dim("b"), 2: torch.export.Dim("h"), 3: torch.export.Dim("w")}}
    program = torch.export.export(Resize(), (torch.rand(2, 3, 24, 32),), dynamic_shapes=dimensions)
    image = torch.rand(1, 3, 11, 17)
    assert torch.equal(program.module()(image), resize_bicubic(image, scale=3))


def test_operation_follows_the_rules_of_custom_operations() -> None:
    arguments = (torch.rand(1, 3, 9, 8, requires_grad=True), -2, 9, 5, 5 / 9, "symmetric", False)
    torch.library.opcheck(torch.ops.sr_lab.resample.default, arguments)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("scale", [1 / 2, 1 / 3, 1 / 4, 0.37, 2, 3])
def test_cuda_equals_cpu(scale: float) -> None:
    levels = torch.randint(0, 256, (2, 3, 132, 180), dtype=torch.uint8, generator=torch.Generator().manual_seed(7))
    assert torch.equal(
        resize_bicubic_uint8(levels.cuda(), scale=scale).cpu(), resize_bicubic_uint8(levels, scale=scale)
    )
    image = levels / 255
    torch.testing.assert_close(
        resize_bicubic(image.cuda(), scale=scale).cpu(), resize_bicubic(image, scale=scale), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("image", "arguments", "words"),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), {"scale": 2.0}, "resize_bicubic_uint8"),
        (torch.zeros(3, 8, 8), {"scale": 2.0}, r"\(B, C, H, W\)"),
        (torch.zeros(1, 3, 8, 8), {}, "either scale or size"),
        (torch.zeros(1, 3, 8, 8), {"scale": 2.0, "size": (4, 4)}, "either scale or size"),
        (torch.zeros(1, 3, 8, 8), {"scale": -1.0}, "scale=-1.0"),
        (torch.zeros(1, 3, 8, 8), {"scale": math.nan}, "scale=nan"),
        (torch.zeros(1, 3, 8, 8), {"size": (0, 4)}, r"size=\(0, 4\)"),
        (torch.zeros(1, 3, 0, 8), {"scale": 2.0}, "without pixels"),
        (torch.zeros(1, 3, 8, 8), {"scale": 2.0, "border": "reflect"}, "border='reflect'"),
    ],
)
def test_errors_name_the_offender(image: Tensor, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        resize_bicubic(image, **arguments)  # type: ignore[arg-type]


def test_exact_mode_refuses_float_images() -> None:
    with pytest.raises(ValueError, match="to_uint8"):
        resize_bicubic_uint8(torch.zeros(1, 3, 8, 8), scale=0.5)


def test_resizing_does_not_import_the_compiler() -> None:
    code = """if True:
        import sys, torch
        from sr_lab.images import resize_bicubic
        resize_bicubic(torch.zeros(1, 1, 8, 8), scale=2)
        assert "torch._dynamo" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)
