import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from sr_lab.degradations.base import keyed_generator
from sr_lab.degradations.canvas import Canvas
from sr_lab.degradations.resampling import MODES, resize_array, resize_canvas
from sr_lab.degradations.resize import Bicubic, RandomResize, ResizeTo, Stride
from sr_lab.images import resize_bicubic, resize_bicubic_uint8

SIZES = [(96, 80), (48, 40), (37, 29), (15, 13), (120, 101), (200, 170)]


def reference(image: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """By another library than the array path uses."""
    if mode == "area":
        weights = []
        for num_in, num_out in zip(image.shape[-2:], size, strict=True):
            edges = np.arange(num_out + 1) * num_in / num_out
            cells = np.arange(num_in)
            part = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
            weights.append(torch.from_numpy(np.maximum(part, 0) * num_out / num_in))
        return (weights[0] @ image.double() @ weights[1].T).float()
    if mode == "bicubic":
        return resize_bicubic(image, size=size)
    if mode == "lanczos":
        planes = [
            np.asarray(Image.fromarray(plane.numpy()).resize(size[::-1], Image.Resampling.LANCZOS))
            for plane in image[0]
        ]
        return torch.from_numpy(np.stack(planes))[None]
    if mode == "nearest":
        return functional.interpolate(image, size, mode="nearest")
    return functional.interpolate(image, size, mode="bicubic" if mode == "cubic" else mode, align_corners=False)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_arrays_equal_an_independent_library(photos: Tensor, mode: str, size: tuple[int, int]) -> None:
    image = photos[0].permute(1, 2, 0).contiguous().numpy()
    resized = resize_array(image, size, mode=mode)  # type: ignore[arg-type]
    torch.testing.assert_close(
        torch.from_numpy(resized).permute(2, 0, 1), reference(photos[:1], size, mode)[0], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("mode", MODES)
def test_canvas_equals_arrays_for_samples_of_different_sizes(photos: Tensor, mode: str) -> None:
    before = np.array([(96, 80), (50, 80), (96, 33), (20, 11), (64, 64), (96, 80)])
    after = np.array([(37, 29), (50, 80), (97, 60), (80, 90), (9, 7), (96, 80)])
    canvas = Canvas(photos, before)
    resized = resize_canvas(canvas, after, np.full(6, MODES.index(mode)))  # type: ignore[arg-type]
    for row, ((height, width), (new_height, new_width)) in enumerate(zip(before, after, strict=True)):
        image = photos[row, :, :height, :width].permute(1, 2, 0).contiguous().numpy()
        alone = resize_array(image, (int(new_height), int(new_width)), mode=mode)  # type: ignore[arg-type]
        together = resized.pixels[row, :, :new_height, :new_width].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(together, alone, atol=1e-4)


def test_bicubic_decides_for_each_sample_whether_it_is_8_bit(photos: Tensor) -> None:
    mixed = photos.clone()
    mixed[1] += 0.3 / 255
    low = Bicubic(scale=2).apply(mixed, {})
    exact = resize_bicubic_uint8((photos * 255).round().to(torch.uint8), scale=0.5)
    torch.testing.assert_close(low[0] * 255, exact[0].float())
    torch.testing.assert_close(low[1], resize_bicubic(mixed[1:2], scale=0.5)[0].clamp(0, 1))
    assert low[1].mul(255).sub(low[1].mul(255).round()).abs().max() > 0.1


def test_directions_have_their_shares_and_ranges() -> None:
    op = RandomResize(factor=[0.15, 1.5], directions={"up": 0.2, "down": 0.7, "keep": 0.1}, modes={"area": 1})
    factor = op.draw(20_000, keyed_generator(0))["factor"].numpy()
    assert (factor > 1).mean() == pytest.approx(0.2, abs=0.01)
    assert (factor == 1).mean() == pytest.approx(0.1, abs=0.01)
    assert factor[factor < 1].mean() == pytest.approx((0.15 + 1) / 2, abs=0.01)
    assert factor.min() >= 0.15
    assert factor.max() <= 1.5


def test_inverse_makes_the_divisor_uniform() -> None:
    op = RandomResize(factor=[0.125, 1], inverse=True, modes={"area": 1})
    divisor = 1 / op.draw(20_000, keyed_generator(0))["factor"].numpy()
    assert divisor.min() >= 1
    assert divisor.max() <= 8
    assert divisor.mean() == pytest.approx(4.5, abs=0.05)


def test_stride_keeps_the_pixels_asked_for(photos: Tensor) -> None:
    first, middle = Stride(scale=4), Stride(scale=4, offset=None)
    params = first.draw(6, keyed_generator(0))
    torch.testing.assert_close(first.apply(photos, params), photos[:, :, ::4, ::4])
    torch.testing.assert_close(middle.apply(photos, params), photos[:, :, 2::4, 2::4])


@pytest.mark.parametrize("offset", [0, 1, 3])
def test_the_shifted_gaussian_undoes_the_shift_of_the_grid(offset: int) -> None:
    ramp = torch.linspace(0, 1, 96).expand(1, 3, 80, 96).contiguous()
    op = Stride(scale=4, offset=offset, sigma=1.5)
    params = op.draw(1, keyed_generator(0))
    low = op.apply(ramp, params)
    centred = functional.avg_pool2d(ramp, 4)
    torch.testing.assert_close(low[..., 4:-4], centred[..., 4:-4], atol=1e-4, rtol=0)
    torch.testing.assert_close(op.apply_canvas(ramp, op.checked(params, 1)), low, atol=1e-5, rtol=0)


def test_resize_to_has_one_size_for_any_history(photos: Tensor) -> None:
    op = ResizeTo(scale=4, modes=dict.fromkeys(MODES, 1.0))
    assert op.apply(photos, op.draw(6, keyed_generator(0))).shape == (6, 3, 24, 20)
    with pytest.raises(ValueError, match="80x95 image does not divide by scale=4"):
        op.apply(photos[:, :, :95], op.draw(6, keyed_generator(0)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RandomResize(factor=0, modes={"area": 1}), "factor=0"),
        (lambda: RandomResize(factor=[0.5, 2], modes={"spline": 1}), "modes.spline is not known"),
        (lambda: RandomResize(factor=[0.5, 0.9], modes={"area": 1}, directions={"up": 1}), "directions.up has no part"),
        (lambda: RandomResize(factor=1.0, modes={"area": 1}, of_scale=0), "of_scale=0"),
        (lambda: Stride(scale=3, offset=3), "offset=3: must lie in 0..2"),
        (lambda: ResizeTo(scale=0, modes={"area": 1}), "scale=0"),
    ],
)
def test_bad_arguments_are_refused_when_built(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_an_image_that_vanishes_is_refused(photos: Tensor) -> None:
    op = RandomResize(factor=0.01, modes={"area": 1})
    with pytest.raises(ValueError, match=r"factor=0\.01 leaves nothing of a 80x96 image"):
        op.apply(photos, op.draw(6, keyed_generator(0)))


def test_samples_of_different_sizes_are_not_stacked(photos: Tensor) -> None:
    op = RandomResize(factor=[0.5, 1.5], modes={"area": 1})
    with pytest.raises(ValueError, match="end with ResizeTo"):
        op.apply(photos, op.draw(6, keyed_generator(0)))
