"""LPIPS against published distances, its loading path and its errors."""

import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from sr_lab.backbones import MissingWeights, Net
from sr_lab.images import read_image, to_tensor
from sr_lab.metrics.lpips import LPIPSMetric, find_weights, load_lpips, lpips
from sr_lab.metrics.protocol import YClassic, YCrop
from sr_lab.training.means import ImageMean

FILES = {
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}


@pytest.fixture(scope="module")
def networks(shared: Path) -> dict[str, nn.Module]:
    return {net: load_lpips(net, weights=shared / "weights") for net in ("alex", "squeeze")}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Path]:
    """An empty torchvision cache; yields the folder of its files."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


def random_state(net: Net) -> dict[str, torch.Tensor]:
    """A random state dict of the backbone's convolutions under torchvision's names."""
    import lpips as package

    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        backbone = package.LPIPS(net=net, pnet_rand=True, verbose=False).net
    return {f"features.{key.partition('.')[2]}": value for key, value in backbone.state_dict().items()}


@pytest.mark.parametrize(
    ("other", "net", "expected"),
    [
        ("ex_p0", "alex", 0.7219),
        ("ex_p0", "squeeze", 0.7110),
        ("ex_p1", "alex", 0.1376),
        ("ex_p1", "squeeze", 0.1479),
    ],
)
def test_authors_example(shared: Path, networks: dict[str, nn.Module], other: str, net: str, expected: float) -> None:
    folder = shared / "reference" / "lpips"
    one, two = (to_tensor(read_image(folder / f"{name}.png")) for name in ("ex_ref", other))
    assert lpips(one, two, network=networks[net]).item() == pytest.approx(expected, abs=0.001)


def test_documented_random_pair(networks: dict[str, nn.Module]) -> None:
    """The example in the documentation of torchmetrics; its images are in [-1, 1]."""
    generator = torch.Generator().manual_seed(42)
    one, two = (torch.rand(2, 3, 100, 100, generator=generator) * 2 - 1 for _ in range(2))
    values = lpips((one + 1) / 2, (two + 1) / 2, network=networks["squeeze"])
    assert values.tolist() == pytest.approx([0.1024, 0.0938], abs=0.001)


def test_equal_images_and_grey(networks: dict[str, nn.Module]) -> None:
    grey = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    other = grey.flip(-1)
    assert lpips(grey, grey, network=networks["alex"]).tolist() == [0.0, 0.0]
    expected = lpips(grey.expand(-1, 3, -1, -1), other.expand(-1, 3, -1, -1), network=networks["alex"])
    assert torch.allclose(lpips(grey, other, network=networks["alex"]), expected)


def test_refuses(networks: dict[str, nn.Module]) -> None:
    with pytest.raises(ValueError, match="at least 32x32, got 31x40"):
        lpips(torch.zeros(1, 3, 31, 40), torch.zeros(1, 3, 31, 40), network=networks["alex"])
    with pytest.raises(ValueError, match="grey or RGB"):
        lpips(torch.zeros(1, 4, 64, 64), torch.zeros(1, 4, 64, 64), network=networks["alex"])


def test_metric_rounds_to_8_bit_and_stays_in_evaluation_mode(shared: Path, networks: dict[str, nn.Module]) -> None:
    """The linear layers have dropout: an owner that goes into training mode must not switch it on."""
    generator = torch.Generator().manual_seed(3)
    one, two = (torch.rand(2, 3, 64, 64, generator=generator) for _ in range(2))
    metric = LPIPSMetric(net="alex", weights=shared / "weights")
    mean = ImageMean(metric)
    owner = nn.Module()
    owner.metric = metric
    owner.train()
    mean.update(one, two)
    rounded = ((255 * image).round() / 255 for image in (one, two))
    assert mean.compute().item() == pytest.approx(lpips(*rounded, network=networks["alex"]).mean().item(), abs=1e-6)
    assert owner.state_dict() == {}, "a checkpoint does not carry the backbone"
    assert metric.higher_is_better is False


def test_autocast_does_not_change_the_distance(networks: dict[str, nn.Module]) -> None:
    one, two = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    plain = lpips(one, two, network=networks["alex"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(lpips(one, two, network=networks["alex"]), plain)


def test_building_leaves_the_global_generator_alone(shared: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_lpips("squeeze", weights=shared / "weights")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_missing_weights_say_which_file_goes_where(hub: Path, net: Net) -> None:
    with pytest.raises(MissingWeights) as caught:
        LPIPSMetric(net=net)
    message = str(caught.value)
    for part in (FILES[net], f"https://download.pytorch.org/models/{FILES[net]}", str(hub), "missing=skip"):
        assert part in message


def test_missing_weights_can_be_skipped_visibly(hub: Path, caplog: pytest.LogCaptureFixture) -> None:
    metric = LPIPSMetric(missing="skip")
    mean = ImageMean(metric)
    assert FILES["alex"] in caplog.text
    assert metric.reason is not None
    assert metric.unavailable(YCrop()) == metric.reason
    mean.update(torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64))
    assert math.isnan(mean.compute().item()), "not measured is not 0"


def test_luma_protocols_have_no_distance(shared: Path) -> None:
    metric = LPIPSMetric(weights=shared / "weights")
    assert metric.unavailable(YCrop()) is None
    assert "luma" in (metric.unavailable(YClassic()) or "")


@pytest.mark.slow
@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_loads_full_and_partial_state_dicts_from_cache_folder_and_file(hub: Path, tmp_path: Path, net: Net) -> None:
    state = random_state(net)
    hub.mkdir(parents=True)
    torch.save({**state, "classifier.1.weight": torch.zeros(1)}, hub / FILES[net])
    name = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}[net]
    torch.save(state, tmp_path / f"{name}_features.pth")
    one, two = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    sources = [None] if net == "vgg" else [None, tmp_path, tmp_path / f"{name}_features.pth"]
    values = [lpips(one, two, network=load_lpips(net, weights=source)).item() for source in sources]
    assert values[0] > 0
    assert len(set(values)) == 1
    assert find_weights(net) == hub / FILES[net]


def test_refuses_weights_of_another_network_and_damaged_files(tmp_path: Path) -> None:
    wrong = tmp_path / "alexnet_features.pth"
    torch.save(random_state("squeeze"), wrong)
    with pytest.raises(ValueError, match=r"alexnet_features\.pth does not hold the weights of alexnet"):
        load_lpips("alex", weights=wrong)
    wrong.write_bytes(b"PK not a checkpoint")
    with pytest.raises(ValueError, match=r"alexnet_features\.pth is not a file of tensors"):
        load_lpips("alex", weights=wrong)


def test_refuses_pickles_that_run_code(tmp_path: Path) -> None:
    path = tmp_path / "alexnet_features.pth"
    torch.save({"features.0.weight": Path("x")}, path)
    with pytest.raises(ValueError, match="not a file of tensors"):
        load_lpips("alex", weights=path)


def test_refuses_unknown_settings() -> None:
    with pytest.raises(ValueError, match="alex, vgg, squeeze"):
        load_lpips("resnet")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="either error or skip"):
        LPIPSMetric(missing="ignore")  # type: ignore[arg-type]
