import importlib.util
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sr_lab.degradations import compression, video
from sr_lab.degradations.base import keyed_generator
from sr_lab.degradations.compression import Avif, Jpeg, Quantise, WebP
from sr_lab.degradations.video import VideoCodec, code_clip

needs_av = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="needs PyAV: pip install 'sr-lab[video]'")


@pytest.mark.parametrize("quality", [10, 50, 95])
def test_jpeg_is_what_pillow_gives(photos: Tensor, quality: int) -> None:
    op = Jpeg(quality=quality)
    coded = op.apply(photos[:1], op.draw(1, keyed_generator(0)))
    file = io.BytesIO()
    array = (photos[0] * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(array).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    expected = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1) / 255
    assert (coded[0] - expected).abs().max() <= 2.01 / 255
    assert (coded[0] - expected).abs().mean() < 0.05 / 255


@pytest.mark.parametrize("op", [Jpeg(quality=[30, 90]), WebP(quality=[30, 90])])
@pytest.mark.parametrize("channels", [1, 3])
def test_lower_quality_is_further_off(photos: Tensor, op, channels: int) -> None:
    image = photos[:2, :channels]
    errors = [
        (op.apply(image, {"quality": torch.tensor([quality, quality])}) - image).abs().mean().item()
        for quality in (95, 60, 20)
    ]
    assert errors[0] < errors[1] < errors[2] < 0.1
    assert op.apply(image, op.draw(2, keyed_generator(0))).shape == image.shape


def test_avif_codes(photos: Tensor) -> None:
    try:
        op = Avif(quality=[30, 60])
    except ValueError as error:
        pytest.skip(str(error))
    coded = op.apply(photos[:2], op.draw(2, keyed_generator(0)))
    assert 0.0005 < (coded - photos[:2]).abs().mean() < 0.05


@pytest.mark.parametrize(("quality", "bound"), [(30, 0.7), (60, 0.7), (95, 0.8)])
def test_differentiable_jpeg_is_near_the_real_one(photos: Tensor, quality: int, bound: float) -> None:
    op = Jpeg(quality=quality)
    params = op.draw(6, keyed_generator(0))
    real = op.apply(photos, params)
    soft = op.apply_canvas(photos, op.checked(params, 6))
    assert (soft - real).abs().mean() * 255 < bound


def test_differentiable_jpeg_has_a_gradient(photos: Tensor) -> None:
    op = Jpeg(quality=70)
    image = photos[:2, :, :50, :70].clone().requires_grad_()
    coded = op.apply(image, op.draw(2, keyed_generator(0)))
    assert coded.shape == image.shape
    coded.square().mean().backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()
    assert image.grad.abs().mean() > 0


def test_quality_is_uniform_over_the_integers() -> None:
    quality = Jpeg(quality=[30, 95]).draw(30_000, keyed_generator(0))["quality"]
    counts = torch.bincount(quality)
    assert (quality.min(), quality.max()) == (30, 95)
    np.testing.assert_allclose(counts[30:] / 30_000, 1 / 66, rtol=0.25)


def test_quantise_rounds(photos: Tensor) -> None:
    image = photos * 0.9 + 0.0123
    levels = Quantise().apply(image, {}) * 255
    torch.testing.assert_close(levels, (image * 255).round(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("build", [lambda: Jpeg(quality=0), lambda: WebP(quality=[50, 101]), lambda: Avif(quality=-3)])
def test_a_quality_out_of_range_is_refused_when_built(build) -> None:
    with pytest.raises(ValueError, match=r"quality=.*must ascend and lie in 1\.\.100"):
        build()


def test_a_quality_out_of_range_is_refused_when_applied(photos: Tensor) -> None:
    with pytest.raises(ValueError, match=r"parameter quality=101: must lie in 1\.\.100"):
        Jpeg(quality=50).apply(photos[:1], {"quality": torch.tensor([101])})


def test_a_missing_format_is_refused_when_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression.cv2, "haveImageWriter", lambda name: False)
    with pytest.raises(ValueError, match="OpenCV was built without avif: install"):
        Avif(quality=50)


def test_other_channels_are_refused(photos: Tensor) -> None:
    image = photos[:1, :1].expand(1, 5, -1, -1)
    with pytest.raises(ValueError, match="jpg stores 1 or 3 channels, the image has 5"):
        Jpeg(quality=50).apply(image, {"quality": torch.tensor([50])})


@needs_av
@pytest.mark.parametrize(
    ("codec", "good", "bad"), [("h264", 10, 40), ("h265", 10, 40), ("mpeg4", 2, 31), ("mpeg2", 2, 31)]
)
def test_video_codecs_code_a_frame(photos: Tensor, codec, good: int, bad: int) -> None:
    op = VideoCodec(codec=codec, quality=[good, bad])
    image = photos[:2, :, :51, :67]
    errors = []
    for quality in (good, bad):
        params = {"quality": torch.tensor([quality, quality])}
        coded = op.apply(image, params)
        assert coded.shape == image.shape
        assert torch.equal(coded, op.apply(image, params))
        errors.append((coded - image).abs().mean().item())
    assert errors[0] < 0.02
    assert 1.5 * errors[0] < errors[1] < 0.2


@needs_av
@pytest.mark.parametrize("codec", ["h264", "h265", "mpeg4", "mpeg2"])
def test_video_codecs_code_a_clip_in_order(photos: Tensor, codec) -> None:
    frames = [np.roll((photos[0] * 255).byte().permute(1, 2, 0).numpy(), 3 * t, axis=1).copy() for t in range(5)]
    coded = code_clip(frames, codec=codec, quality=12 if codec.startswith("h") else 3)
    distances = np.array([[np.abs(a.astype(int) - b).mean() for b in frames] for a in coded])
    assert (distances.argmin(axis=1) == np.arange(5)).all()
    clip = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None].float() / 255
    op = VideoCodec(codec=codec, quality=20, probability=0.5)
    params = {"quality": torch.tensor([20, 20]), "on": torch.tensor([True, False])}
    both, _ = op.pair_clip(clip.repeat(2, 1, 1, 1, 1), params)
    assert torch.equal(both[1], clip[0])
    assert 0.001 < (both[0] - clip[0]).abs().mean() < 0.1


@needs_av
def test_bad_video_arguments_are_refused_when_built() -> None:
    with pytest.raises(ValueError, match="codec='vp9' is not known: choose from h264"):
        VideoCodec(codec="vp9", quality=30)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"quality=40: must ascend and lie in 1\.\.31"):
        VideoCodec(codec="mpeg4", quality=40)
    with pytest.raises(ValueError, match=r"quality=\[30.2, 30.8\]: holds no whole number"):
        VideoCodec(codec="mpeg4", quality=[30.2, 30.8])


@needs_av
@pytest.mark.parametrize(("codec", "quality"), [("h264", 10), ("h265", 10), ("mpeg4", 2), ("mpeg2", 2)])
def test_a_grey_frame_keeps_its_range(photos: Tensor, codec, quality: int) -> None:
    grey = photos[:1, :1, :51, :67]
    coded = VideoCodec(codec=codec, quality=quality).apply(grey, {"quality": torch.tensor([quality])})
    assert coded.shape == grey.shape
    assert (coded - grey).abs().mean() < 0.02
    assert coded.mean().item() == pytest.approx(grey.mean().item(), abs=0.005)


@needs_av
def test_frames_of_other_channels_are_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"h264 takes RGB or grey frames.*leave VideoCodec out"):
        code_clip([np.zeros((64, 64, 4), dtype=np.uint8)], codec="h264", quality=30)


def test_missing_pyav_is_refused_when_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(video.importlib, "import_module", missing)
    with pytest.raises(ValueError, match=r"codec='h264' needs PyAV: pip install 'sr-lab\[video\]'"):
        VideoCodec(codec="h264", quality=30)
