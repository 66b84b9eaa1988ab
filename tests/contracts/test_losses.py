"""Law 11: every loss, game and penalty of conf/ changes the gradient it is meant to change, and no other."""

from pathlib import Path

import pytest
import torch
import torchvision.models as models
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from sr_lab.config.targets import locate
from sr_lab.losses.adversarial import Vanilla
from sr_lab.losses.pixel import L2
from sr_lab.networks.base import GenerativeNetwork
from sr_lab.networks.discriminators import PatchCritic
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.temporal.base import ClipNetwork
from sr_lab.training.adversarial import Adversarial
from sr_lab.training.instruments import last_convolution
from sr_lab.training.regression import Regression

CONF = Path(__file__).resolve().parents[2] / "conf"
SMALL = {"num_blocks": 1, "num_layers": 2, "num_groups": 1, "num_convs": 2, "num_features": 12, "growth": 8}


def names(group: str, *without: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml") if file.stem not in without)


def read(group: str, name: str) -> dict:
    text = (CONF / group / f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text.replace("${scale}", "2").replace("${num_channels}", "3"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A folder with random weights of every backbone."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for backbone in ("vgg19", "alexnet", "squeezenet1_1"):
        with torch.device("meta"):
            shapes = getattr(models, backbone)(weights=None).features.state_dict()
        state = {f"features.{key}": torch.randn(value.shape) * 0.05 for key, value in shapes.items()}
        torch.save(state, folder / f"{backbone}_features.pth")
    return folder


@pytest.fixture(scope="module")
def batch() -> dict:
    high = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return {"low": torch.nn.functional.avg_pool2d(high, 2), "high": high}


def as_clips(batch: dict, *, scale: int = 2) -> dict:
    """Clips of three frames that move by ``scale`` pixels each."""
    high = torch.stack([batch["high"].roll(number * scale, dims=-1) for number in range(3)], dim=1)
    low = torch.nn.functional.avg_pool2d(high.flatten(0, 1), scale).unflatten(0, high.shape[:2])
    return {"low": low, "high": high}


def adversarial(**changes) -> Adversarial:
    torch.manual_seed(0)
    arguments = {
        "network": EDSR(scale=2, num_blocks=1, num_features=8),
        "losses": {"base": L2(weight=0.5)},
        "gan": Vanilla(weight=0.1),
        "critic": PatchCritic(num_features=4, num_layers=2),
        "critic_optimizer": torch.optim.Adam,
        "metrics": {},
        "optimizer": torch.optim.Adam,
        "ema_decay": 0.9,
    }
    return Adversarial(**(arguments | changes))


def gradients(module, batch) -> dict[str, torch.Tensor]:
    module.dry_step(batch)
    parts = {"network": module.network, "critic": getattr(module, "critic", torch.nn.Module())}
    return {
        name: torch.cat([torch.zeros(1), *(p.grad.flatten() for p in part.parameters() if p.grad is not None)])
        for name, part in parts.items()
    }


def losses_of(name: str, weights: Path) -> dict:
    nodes = read("losses", name)
    for node in nodes.values():
        if "weights" in node:
            node["weights"] = str(weights)
    return {key: instantiate(node, _convert_="all") for key, node in nodes.items()}


@pytest.mark.parametrize("model", ["regression", "adversarial"])
@pytest.mark.parametrize("name", names("losses", "distillation"))
def test_a_loss_changes_the_networks_gradient_and_not_the_critics(name, model, weights, batch):
    added = losses_of(name, weights)
    base = {"base": L2(weight=0.5)}
    if model == "regression":

        def make(losses):
            torch.manual_seed(0)
            network = EDSR(scale=2, num_blocks=1, num_features=8)
            module = Regression(network=network, losses=losses, metrics={}, optimizer=torch.optim.Adam, ema_decay=0.9)
            with torch.no_grad():  # the average is not what is trained
                module.ema.module.tail.weight.mul_(0.5)
            return module
    else:

        def make(losses):
            module = adversarial(losses=losses)
            with torch.no_grad():  # the average is not what is trained
                module.ema.module.tail.weight.mul_(0.5)
            return module

    alone, together = gradients(make(base), batch), gradients(make(base | added), batch)
    assert together["network"].isfinite().all()
    assert (together["network"] - alone["network"]).abs().max() > 1e-8
    assert torch.equal(together["critic"], alone["critic"])


@pytest.mark.parametrize("critic", names("critic"))
@pytest.mark.parametrize("gan", names("gan"))
def test_a_game_moves_the_network_by_its_term_and_the_critic_by_its_loss(gan, critic, batch):
    node = read("critic", critic)
    inner = node.get("critic", node)
    inner |= {"num_features": 8} | ({"input_size": 32} if "input_size" in inner else {})
    game = instantiate(read("gan", gan))
    module = adversarial(gan=game, critic=instantiate(node), losses={})
    if module.critic.takes_clips:
        batch = as_clips(batch)
    of_game = gradients(module, batch)
    assert all(value.isfinite().all() and value.abs().max() > 0 for value in of_game.values())
    for parameter in module.critic.parameters():
        assert parameter.grad is not None

    module = adversarial(gan=game, critic=instantiate(node), losses={})
    _, terms, _ = module._round(module._restored(batch), batch, share=1.0, penalise=False)
    reached = torch.autograd.grad(terms["gan"], list(module.critic.parameters()), allow_unused=True, retain_graph=True)
    assert all(gradient is None for gradient in reached), "the generator's term must not move the critic"
    assert all(p.grad is None for p in module.network.parameters()), "the critic's loss must not move the network"


def small(node: dict) -> dict:
    """A network's node with little inside."""
    found = {key: small(value) if isinstance(value, dict) else value for key, value in node.items()}
    return {
        key: min(value, SMALL[key]) if key in SMALL and isinstance(value, int) else value
        for key, value in found.items()
    }


@pytest.mark.parametrize("name", names("model/network", "bicubic", "community", "artefact"))
def test_every_network_can_be_trained_against_a_critic(name, batch):
    scale = 4 if name == "basicvsr" else 2
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("train", [f"model/network={name}", f"scale={scale}", "metrics=[psnr]"]).model.network
    node = small(OmegaConf.to_container(composed, resolve=True))
    if issubclass(locate(node["_target_"]), GenerativeNetwork):
        pytest.skip(f"{name} draws its images: it is trained as diffusion, see test_networks.py")
    if issubclass(locate(node["_target_"]), ClipNetwork):
        batch = as_clips(batch, scale=scale)
    torch.manual_seed(0)
    network = instantiate(node, _convert_="all")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    module = adversarial(network=network, losses={})
    assert gradients(module, batch)["network"].abs().max() > 0
    restored = module._restored(batch)
    (pull,) = torch.autograd.grad(restored.square().mean(), last_convolution(network))
    assert pull.abs().max() > 0
