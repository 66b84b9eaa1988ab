"""NIQE and BRISQUE against the packages that publish them; their values were computed once, with these packages."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from skimage import data

from sr_lab.images import resize_bicubic, to_tensor
from sr_lab.metrics.iqa import PyIQA
from sr_lab.metrics.no_reference import BRISQUE, NIQE, brisque, niqe
from sr_lab.metrics.protocol import RGBCrop


def image(name: str) -> torch.Tensor:
    pixels = getattr(data, name)()
    return to_tensor(pixels if pixels.ndim == 3 else pixels[..., None])


@pytest.mark.parametrize(
    ("name", "value"), [("camera", 3.095938085215758), ("chelsea", 2.5720785436149978), ("coffee", 4.0584286305275805)]
)
def test_niqe_is_that_of_pyiqa_with_the_authors_photos(name, value):
    """pyiqa 0.1.16's niqe on rounded grey, with BasicSR 1.4.2's niqe_pris_params.npz."""
    assert float(niqe(image(name))) == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [("chelsea", 2.870766629430335), ("coffee", 3.0479264284917633), ("astronaut", 10.794862939073454)],
)
def test_brisque_is_that_of_the_package(name, value):
    """brisque 0.2.0 with libsvm 3.37; it solves for the shapes, here they are looked up in steps of 0.001."""
    assert float(brisque(image(name))) == pytest.approx(value, abs=0.15)


def test_blur_and_noise_are_less_natural_than_a_photo():
    photo = image("chelsea")[..., :288, :384]
    blurred = resize_bicubic(resize_bicubic(photo, scale=0.25), scale=4.0).clamp(0, 1)
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    noisy = (photo + 0.1 * noise).clamp(0, 1)
    for measure in (niqe, brisque):
        values = [float(measure(shown)) for shown in (photo, blurred, noisy)]
        assert values[0] < min(values[1:])


def test_each_image_has_its_own_value_and_the_original_is_not_looked_at():
    photo = image("coffee")[..., :96, :192]
    pair = torch.cat([photo, photo.flip(-1) ** 2])
    for metric in (NIQE(), BRISQUE()):
        values = metric.per_image(pair, torch.zeros_like(pair))
        assert values.tolist() == [float(metric.per_image(one[None], one[None])) for one in pair]


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="a 95x96 image is too small"):
        niqe(torch.zeros(1, 3, 96, 95))
    with pytest.raises(ValueError, match="every patch"):
        niqe(torch.zeros(1, 1, 96, 96))
    assert "5 channels" in NIQE().refuses(5)
    assert BRISQUE().refuses(1) is None
    with pytest.raises(ValueError, match="of one tone"):
        brisque(torch.zeros(1, 1, 64, 64))


STAND_IN = """
import torch

def create_metric(metric, device, **own):
    if metric == "fetches":
        torch.hub.load_state_dict_from_url("https://example.org/fetched.pth", model_dir="cache")
    if metric == "imports":
        import a_package_that_is_not_there
    if metric == "left_out":
        raise KeyError("No object named 'Net'")
    if own and metric == "plain":
        raise TypeError("unexpected keyword argument")
    network = torch.nn.Module()
    network.forward = lambda restored, target=None: (restored - target).abs().mean(dim=(1, 2, 3))
    network.lower_better, network.metric_mode = True, "FR"
    return network
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A package of the name pyiqa, which does what pyiqa does where something is missing."""
    (tmp_path / "pyiqa").mkdir()
    (tmp_path / "pyiqa" / "__init__.py").write_text(STAND_IN)
    names = ("fetches", "imports", "left_out", "plain")
    (tmp_path / "pyiqa" / "default_model_configs.py").write_text(f"DEFAULT_CONFIGS = {dict.fromkeys(names)}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyiqa"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("pyiqa", "pyiqa.default_model_configs"):
        sys.modules.pop(name, None)


def test_pyiqa_that_is_not_there_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr("sr_lab.metrics.iqa.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pyiqa_musiq: pyiqa is not installed"):
        PyIQA(metric="musiq")
    metric = PyIQA(metric="musiq", missing="skip")
    assert "sr-lab[iqa]" in metric.unavailable(RGBCrop())


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("fetches", "needs weights that are not at hand: fetch https://example.org/fetched.pth"),
        ("imports", "needs the package a_package_that_is_not_there"),
        ("left_out", "needs packages that are not installed"),
    ],
)
def test_what_a_metric_of_pyiqa_lacks_is_said_and_nothing_is_fetched(stand_in, tmp_path, metric, said):
    assert said in PyIQA(metric=metric, missing="skip").unavailable(RGBCrop())
    with pytest.raises(ValueError, match="missing=skip leaves it out"):
        PyIQA(metric=metric)
    assert not list(tmp_path.glob("cache/*"))


def test_a_metric_of_pyiqa_without_weights_is_measured_on_the_8_bit_images(stand_in, tmp_path):
    metric = PyIQA(metric="plain")
    assert (metric.unavailable(RGBCrop()), metric.key, metric.higher_is_better) == (None, "pyiqa_plain", False)
    values = metric.per_image(torch.full((2, 3, 4, 4), 0.501), torch.zeros(2, 3, 4, 4))
    assert values.tolist() == pytest.approx([128 / 255] * 2), "rounded to 8 bits"
    with pytest.raises(ValueError, match="pyiqa has none of this name"):
        PyIQA(metric="nothing")
    (tmp_path / "w.pth").write_bytes(b"")
    with pytest.raises(ValueError, match="plain takes none"):
        PyIQA(metric="plain", weights=tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"there is no file .*none.pth"):
        PyIQA(metric="plain", weights=tmp_path / "none.pth")


@pytest.mark.skipif(find_spec("pyiqa") is None, reason="needs pyiqa: pip install 'sr-lab[iqa]'")
@pytest.mark.parametrize(("metric", "value"), [("fsim", 0.7762464), ("vsi", 0.9387493), ("psnr", 26.6841316)])
def test_metrics_of_pyiqa_are_those_of_piq(metric, value):  # piq 0.8.0 on the same two images
    high = to_tensor(np.ascontiguousarray(data.chelsea()[:192, 100:292]))
    restored = resize_bicubic(resize_bicubic(high, scale=0.25), scale=4.0).clamp(0, 1)
    assert float(PyIQA(metric=metric).per_image(restored, high)) == pytest.approx(value, abs=1e-6)
