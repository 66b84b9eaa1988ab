"""Sharpening, tone, lines, printing, and other people's transforms."""

import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from sr_lab.degradations.albumentation import Albumentation
from sr_lab.degradations.base import keyed_generator
from sr_lab.degradations.colour import Banding, ColourShift
from sr_lab.degradations.lines import DeadRows, Halftone, Stripes
from sr_lab.degradations.operation import Operation
from sr_lab.degradations.sharpen import Sharpen


def apply(op: Operation, image: Tensor, key: int = 0) -> Tensor:
    return op.apply(image, op.draw(len(image), keyed_generator(key)))


def test_unsharp_mask_is_the_formula(photos: Tensor) -> None:
    def blur(values: Tensor) -> Tensor:
        array = values.double().numpy()
        for axis in (2, 3):
            array = gaussian_filter1d(array, 8.0, axis=axis, mode="mirror", radius=25)
        return torch.from_numpy(array)

    image = photos.double()
    residual = image - blur(image)
    soft = blur((residual.abs() * 255 > 10).double())
    expected = soft * (image + 0.5 * residual).clamp(0, 1) + (1 - soft) * image
    difference = (apply(Sharpen(), photos) - expected).abs()
    assert (difference > 1e-3).float().mean() < 1e-3
    assert difference.mean() < 1e-5
    assert (apply(Sharpen(), photos) - photos).abs().max() > 0.05


def test_colour_shift_is_the_formula(photos: Tensor) -> None:
    op = ColourShift(gamma=[0.5, 2], gain=[0.8, 1.2], offset=[-20, 20])
    params = op.draw(6, keyed_generator(1))
    gain, offset = (params[name][:, :3, None, None] for name in ("gain", "offset"))
    expected = (gain * photos.double() ** params["gamma"][:, None, None, None] + offset / 255).clamp(0, 1)
    torch.testing.assert_close(op.apply(photos, params), expected.float(), atol=1e-5, rtol=0)
    gamma = op.draw(20_000, keyed_generator(0))["gamma"]
    assert (gamma < 1).double().mean().item() == pytest.approx(0.5, abs=0.015)


def test_banding_leaves_so_many_levels() -> None:
    ramp = torch.linspace(0, 1, 4096).expand(2, 3, 8, -1).contiguous()
    banded = apply(Banding(levels=7), ramp)
    assert len(banded.unique()) == 7
    assert (banded - ramp).abs().max().item() == pytest.approx(1 / 12, abs=1e-3)


def test_dead_rows_have_their_share_and_value() -> None:
    image = torch.full((4, 3, 5000, 4), 0.5)
    dead = (apply(DeadRows(fraction=0.1, value=1.0), image) == 1.0).flatten(2)
    rows = dead.reshape(4, 3, 5000, 4).all(dim=(1, 3))
    assert rows.double().mean().item() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(rows, dead.reshape(4, 3, 5000, 4).any(dim=(1, 3)))
    assert len({tuple(sample.nonzero().flatten().tolist()) for sample in rows}) == 4


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_stripes_are_gains_of_lines(axis) -> None:
    image = torch.full((1, 3, 1200, 1200), 0.5)
    gain = apply(Stripes(sigma=0.05, axis=axis), image)[0, 0] / 0.5
    across, along = (1, 0) if axis == "rows" else (0, 1)
    assert gain.std(dim=across).max() < 1e-6
    assert gain.mean(dim=across).std().item() == pytest.approx(0.05, rel=0.08)
    assert gain.shape[along] == 1200


def test_halftone_keeps_the_tone_and_has_its_period() -> None:
    image = torch.full((1, 1, 120, 120), 0.5)
    printed = apply(Halftone(period=6.0, softness=0.01), image)[0, 0]
    assert printed.mean().item() == pytest.approx(0.5, abs=0.05)
    assert printed.std() > 0.4
    spectrum = torch.fft.rfft2(printed - printed.mean()).abs()
    peak = torch.tensor(divmod(int(spectrum.argmax()), spectrum.shape[1])).double()
    frequency = torch.minimum(peak, torch.tensor([120.0, 120.0]).double() - peak).norm() / 120
    assert frequency.item() == pytest.approx(1 / 6, rel=0.05)


@pytest.mark.parametrize(
    "op",
    [
        Sharpen(),
        ColourShift(gamma=[0.5, 2], gain=[0.8, 1.2], offset=[-20, 20]),
        Banding(levels=[4, 32]),
        DeadRows(fraction=[0.05, 0.2], value=[0, 1]),
        Stripes(sigma=[0.01, 0.1]),
        Stripes(sigma=[0.01, 0.1], axis="rows"),
        Halftone(period=[3, 7], strength=[0.2, 1]),
    ],
)
def test_canvas_equals_arrays(photos: Tensor, op: Operation) -> None:
    params = op.draw(6, keyed_generator(2))
    by_array = op.apply(photos, params)
    assert (by_array - photos).abs().max() > 0.01
    difference = (op.apply_canvas(photos, op.checked(params, 6)) - by_array).abs()
    assert difference.mean() < 2e-5
    assert (difference > 1e-4).float().mean() < 3e-3


@pytest.mark.parametrize("as_bytes", [False, True])
def test_albumentations_transforms_replay(photos: Tensor, as_bytes: bool) -> None:
    arguments = {"intensity": [0.4, 0.5], "color_shift": [0.1, 0.2]}
    op = Albumentation(transform="albumentations.ISONoise", arguments=arguments, as_bytes=as_bytes)
    params = op.draw(6, keyed_generator(0))
    noisy = op.apply(photos, params)
    assert noisy.shape == photos.shape
    assert 0.005 < (noisy - photos).abs().mean() < 0.3
    assert torch.equal(noisy, op.apply(photos, params))
    assert torch.equal(noisy[3:4], op.apply(photos[3:4], {"seed": params["seed"][3:4]}))
    assert not torch.equal(noisy, op.apply(photos, op.draw(6, keyed_generator(1))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"transform": "albumentations.Nothing"}, "albumentations.Nothing.*no such class"),
        ({"transform": "nowhere.Blur"}, "nowhere.Blur.*no such class"),
        ({"transform": "albumentations.GaussianBlur", "arguments": {"radius": 3}}, "arguments of albumentations"),
        ({"transform": "collections.Counter"}, "no transform of albumentations"),
    ],
)
def test_wrong_transforms_are_refused_when_built(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Albumentation(**arguments)


def test_a_transform_that_resizes_is_refused(photos: Tensor) -> None:
    op = Albumentation(transform="albumentations.Resize", arguments={"height": 10, "width": 10})
    with pytest.raises(ValueError, match="take one that keeps the size"):
        apply(op, photos)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Sharpen(radius=50), "radius=50: must be odd"),
        (lambda: Banding(levels=1), "levels=1"),
        (lambda: DeadRows(fraction=1.5), "fraction=1.5"),
        (lambda: Stripes(sigma=1, axis="both"), "axis='both'"),
        (lambda: Halftone(period=0), "period=0"),
        (lambda: ColourShift(gamma=0), "gamma=0"),
    ],
)
def test_bad_arguments_are_refused_when_built(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
