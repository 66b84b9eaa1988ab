"""Losses on ImageNet features: exact taps before the ReLU, loading from made-up weights, and the errors."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision.models as models

from sr_lab.backbones import ADDRESSES, MissingWeights, load_lpips
from sr_lab.losses.perceptual import LPIPS, MEAN, STD, FeatureExtractor, Perceptual, layer_names

FILES = {
    "vgg19": "vgg19-dcbb9e9d.pth",
    "alexnet": "alexnet-owt-7be5be79.pth",
    "squeezenet1_1": "squeezenet1_1-b8a52dc0.pth",
}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Path]:
    """An empty torchvision cache; yields the folder of its files."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


@pytest.fixture(scope="module")
def made_up(tmp_path_factory) -> Path:
    """A folder with random weights of each backbone, as ``<backbone>_features.pth``."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for backbone in FILES:
        with torch.device("meta"):
            features = getattr(models, backbone)(weights=None).features
        state = {f"features.{key}": torch.randn(value.shape) * 0.05 for key, value in features.state_dict().items()}
        torch.save(state, folder / f"{backbone}_features.pth")
    return folder


def reference(backbone: str, path: Path) -> torch.nn.Sequential:
    with torch.device("meta"):
        features = getattr(models, backbone)(weights=None).features.eval()
    features.to_empty(device="cpu")
    features.load_state_dict({k.removeprefix("features."): v for k, v in torch.load(path, weights_only=True).items()})
    return features


@pytest.mark.parametrize(
    ("backbone", "layer", "end"),
    [("vgg19", "conv5_4", 35), ("vgg19", "conv1_2", 3), ("alexnet", "conv5", 11), ("squeezenet1_1", "conv1", 1)],
)
def test_features_are_those_of_torchvision_before_the_relu(made_up: Path, backbone: str, layer: str, end: int):
    path = made_up / f"{backbone}_features.pth"
    image = torch.rand(1, 3, 40, 36)
    normalised = (image - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    features = FeatureExtractor(backbone=backbone, path=path, layers=[layer])(image)
    with torch.no_grad():
        expected = reference(backbone, path)[:end](normalised)
    assert list(features) == [layer]
    assert features[layer].min() < 0, "before the ReLU"
    torch.testing.assert_close(features[layer], expected)
    torch.testing.assert_close(F.relu(features[layer]), reference(backbone, path)[: end + 1](normalised))


def test_fire_modules_before_and_after_their_relu(made_up: Path):
    path = made_up / "squeezenet1_1_features.pth"
    image = torch.rand(2, 3, 48, 40)
    normalised = (image - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    found = FeatureExtractor(backbone="squeezenet1_1", path=path, layers=["fire2", "fire9"])(image)
    assert found["fire9"].min() < 0
    for name, end in (("fire2", 4), ("fire9", 13)):
        torch.testing.assert_close(F.relu(found[name]), reference("squeezenet1_1", path)[:end](normalised))


@pytest.mark.parametrize(("backbone", "count"), [("vgg19", 16), ("alexnet", 5), ("squeezenet1_1", 9)])
def test_every_layer_can_be_named(made_up: Path, backbone: str, count: int):
    names = layer_names(backbone)
    assert len(names) == count
    path = made_up / f"{backbone}_features.pth"
    found = FeatureExtractor(backbone=backbone, path=path, layers=names)(torch.rand(1, 3, 32, 32))
    assert list(found) == names


def test_loss_is_the_weighted_sum_of_the_layers(made_up: Path):
    one, other = torch.rand(2, 1, 3, 32, 32).unbind()
    losses = [
        Perceptual(layers=layers, backbone="squeezenet1_1", weights=made_up)(one, other).item()
        for layers in ({"conv1": 0.1}, {"fire5": 1.0}, {"conv1": 0.1, "fire5": 1.0})
    ]
    assert losses[0] > 0
    assert losses[0] + losses[1] == pytest.approx(losses[2], rel=1e-6)


def test_backbone_is_frozen_no_part_of_the_state_and_blind_to_training_mode(made_up: Path):
    loss = Perceptual(layers={"fire4": 1.0}, backbone="squeezenet1_1", weights=made_up).train()
    assert loss.state_dict() == {}
    assert not list(loss.parameters())
    restored = torch.rand(1, 3, 32, 32, requires_grad=True)
    loss(restored, torch.rand(1, 3, 32, 32)).backward()
    assert restored.grad.abs().max() > 0
    assert all(p.grad is None and not p.requires_grad for p in loss._extractor.network.parameters())
    assert not loss._extractor.network.training


def test_grey_images_are_shown_in_all_channels(made_up: Path):
    loss = Perceptual(layers={"conv3": 1.0}, backbone="alexnet", weights=made_up)
    one, other = torch.rand(2, 1, 1, 40, 40).unbind()
    assert torch.equal(loss(one, other), loss(one.expand(-1, 3, -1, -1), other.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("backbone", list(FILES))
def test_weights_come_from_torchvisions_cache_or_a_path(made_up: Path, hub: Path, backbone: str):
    layers = {layer_names(backbone)[-1]: 1.0}
    with pytest.raises(MissingWeights) as caught:
        Perceptual(layers=layers, backbone=backbone)
    said = str(caught.value)
    address = f"https://download.pytorch.org/models/{FILES[backbone]}"
    for part in ("the perceptual loss", FILES[backbone], address, str(hub), "losses.perceptual.weights=PATH"):
        assert part in said
    file = made_up / f"{backbone}_features.pth"
    (hub / FILES[backbone]).write_bytes(file.read_bytes())
    one, other = torch.rand(2, 1, 3, 32, 32).unbind()
    values = {
        Perceptual(layers=layers, backbone=backbone, weights=weights)(one, other).item()
        for weights in (None, file, str(made_up))
    }
    assert len(values) == 1


def test_refuses(made_up: Path):
    with pytest.raises(ValueError, match=r"layers names 'conv9': alexnet has conv1, conv2"):
        Perceptual(layers={"conv9": 1.0}, backbone="alexnet", weights=made_up)
    with pytest.raises(ValueError, match="at least one, each with a positive weight"):
        Perceptual(layers={}, backbone="alexnet", weights=made_up)
    with pytest.raises(ValueError, match="backbone='resnet': there are alexnet"):
        Perceptual(layers={"conv1": 1.0}, backbone="resnet", weights=made_up)
    with pytest.raises(ValueError, match="does not hold the weights of vgg19"):
        Perceptual(layers={"conv1_1": 1.0}, backbone="vgg19", weights=made_up / "alexnet_features.pth")
    loss = Perceptual(layers={"conv1": 1.0}, backbone="alexnet", weights=made_up)
    with pytest.raises(ValueError, match="neither grey nor RGB"):
        loss(torch.rand(1, 4, 32, 32), torch.rand(1, 4, 32, 32))
    with pytest.raises(ValueError, match="images of 31x40: a perceptual loss needs at least 32x32"):
        loss(torch.rand(1, 3, 31, 40), torch.rand(1, 3, 31, 40))


@pytest.mark.parametrize("net", ["squeeze", "alex"])
def test_lpips_as_a_loss_is_the_packages_value_with_a_finite_gradient(made_up: Path, net: str):
    loss = LPIPS(net=net, weights=made_up)
    package = load_lpips(net, made_up / f"{'alexnet' if net == 'alex' else 'squeezenet1_1'}_features.pth")
    one, other = torch.rand(2, 2, 3, 40, 48).unbind()
    assert loss(one, other).item() == pytest.approx(package(one * 2 - 1, other * 2 - 1).mean().item(), rel=1e-5)
    assert loss(one, one).item() == 0
    dead = torch.zeros(1, 3, 40, 40, requires_grad=True)
    with torch.no_grad():
        for parameter in loss._network.network.net.parameters():
            parameter.neg_().clamp_max_(0)  # every ReLU is shut
    loss(dead, other[:1, :, :40, :40]).backward()
    assert dead.grad.isfinite().all()


def test_the_addresses_are_those_of_torchvision() -> None:
    import torchvision.models as models

    known = (models.AlexNet_Weights, models.SqueezeNet1_1_Weights, models.VGG16_Weights, models.VGG19_Weights)
    assert list(ADDRESSES.values()) == [weights.IMAGENET1K_V1.url for weights in known]
