"""What every network of conf/model/network and every critic of conf/critic keeps to; a new file is tested at once."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from sr_lab.artefacts.artefact import build_network, load_artefact, save_artefact
from sr_lab.config.targets import locate
from sr_lab.images import to_levels
from sr_lab.inference.restorers import NetworkRestorer
from sr_lab.losses.pixel import L2
from sr_lab.networks.compact import Compact
from sr_lab.networks.denoising import DenoisingNetwork
from sr_lab.networks.keys import public_state_dict
from sr_lab.networks.temporal.base import ClipNetwork
from sr_lab.training.diffusion import Diffusion

CONF = Path(__file__).resolve().parents[2] / "conf"
NETWORKS = sorted({path.stem for path in (CONF / "model" / "network").glob("*.yaml")} - {"artefact"})
GENERATIVE = {"pmrf", "resshift", "resshift4", "resshift_student", "resshift_tiny", "unet", "unet_tiny"}
CRITICS = sorted(path.stem for path in (CONF / "critic").glob("*.yaml"))
SMALL = {
    "num_blocks": 2,
    "num_layers": 2,
    "num_groups": 1,
    "num_convs": 2,
    "num_features": 12,
    "growth": 8,
    "num_steps": 3,
}


def read(path, *, scale=2, num_channels=3):
    text = path.read_text().replace("${scale}", str(scale)).replace("${num_channels}", str(num_channels))
    return yaml.safe_load(text)


@functools.cache
def composed(name, *, scale=2, num_channels=3):
    """The node of a network as a run gets it; parts that are loaded from artefacts are a small EDSR instead."""
    settings = [f"model/network={name}", f"scale={scale}", f"num_channels={num_channels}", "metrics=[psnr]"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        node = OmegaConf.to_container(compose("train", settings).model.network, resolve=True)
    edsr = read(CONF / "model" / "network" / "edsr_tiny.yaml", scale=scale, num_channels=num_channels)
    return {key: edsr if _is_artefact(value) else value for key, value in node.items()}


def _is_artefact(value):
    return isinstance(value, dict) and value.get("_target_") == "sr_lab.artefacts.artefact.load_network"


def small(node):
    """The same network with fewer and narrower layers, and of few steps."""
    return {
        key: small(value)
        if isinstance(value, dict)
        else min(value, SMALL[key])
        if key in SMALL and isinstance(value, int)
        else value
        for key, value in node.items()
    }


@pytest.fixture
def network_of(tmp_path):
    """Builds the small variant of a configuration, in evaluation mode, with no weight at a special value."""

    def build(name, *, scale=2, num_channels=3):
        torch.manual_seed(0)
        node = composed(name, scale=scale, num_channels=num_channels) if name != "community" else {}
        if name == "community":
            pytest.importorskip("spandrel")
            from sr_lab.networks.community import load_community

            source = Compact(scale=scale, num_channels=num_channels, num_features=12, num_convs=2)
            torch.save({"params": public_state_dict(source, "Real-ESRGAN")}, tmp_path / "weights.pth")
            network = load_community(path=str(tmp_path / "weights.pth"), scale=scale, num_channels=num_channels)
        else:
            try:
                network = build_network(small(node))
            except ValueError as error:
                if f"scale={scale}" in str(error):
                    pytest.skip(f"{name} does not make x{scale}: {error}")
                raise
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        return network.eval()

    return build


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_output_is_scale_times_input_at_any_size(network_of, name, scale):
    network = network_of(name, scale=scale)
    assert (network.scale, network.num_channels) == (scale, 3)
    for height, width in [(7, 9), (1, 1), (2, 16), (24, 5)]:
        with torch.no_grad():
            restored = network(torch.rand(1, 3, height, width))
        assert restored.shape == (1, 3, height * scale, width * scale), f"{height}x{width}"
        assert restored.dtype == torch.float32
        assert restored.isfinite().all()


@pytest.mark.parametrize("name", NETWORKS)
def test_full_size_on_the_meta_device(name):
    if name == "community":
        pytest.skip("has no size of its own")
    with torch.device("meta"):
        network = build_network(composed(name, scale=4))
        assert network(torch.rand(2, 3, 11, 6)).shape == (2, 3, 44, 24)


@pytest.mark.parametrize("name", NETWORKS)
def test_grey_images(network_of, name):
    assert network_of(name, num_channels=1)(torch.rand(1, 1, 8, 8)).shape == (1, 1, 16, 16)


@pytest.mark.parametrize("name", NETWORKS)
def test_finite_gradients_reach_every_parameter_and_the_input(network_of, name):
    network = network_of(name).train()
    low = torch.rand(2, 3, 9, 10)
    if isinstance(network, ClipNetwork):  # one frame says nothing of what is carried to the next
        low = torch.stack([low, 0.95 * low + 0.02], dim=1)
    low.requires_grad_()
    (network(low) - 0.3).square().sum().backward()
    assert low.grad.isfinite().all()
    assert low.grad.abs().max() > 0
    trained = {key: parameter for key, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained or name == "bicubic"
    for key, parameter in trained.items():
        assert parameter.grad is not None, f"{key} has no part in the output"
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0, f"no gradient reaches {key}"


def test_every_network_that_draws_its_images_is_trained_as_diffusion(network_of):
    tested = []
    for name in NETWORKS:
        if name == "community" or not issubclass(locate(composed(name)["_target_"]), DenoisingNetwork):
            continue
        network, index = network_of(name), torch.arange(2)
        module = Diffusion(network=network, losses={"l2": L2()}, metrics={}, optimizer=torch.optim.Adam, seed=0)
        low, high = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16)
        module.dry_step({"low": low, "high": high, "epoch": index, "index": index})
        for key, parameter in network.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad.isfinite().all(), f"{name}: {key}"
                assert parameter.grad.abs().max() > 0, f"{name}: no gradient reaches {key}"
        tested.append(name)
    assert {"resshift", "pmrf"} <= set(tested)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_image_does_not_depend_on_its_batch(network_of, name):
    network, low = network_of(name), torch.rand(2, 3, 9, 7)
    with torch.no_grad():
        together, alone = network(low), torch.cat([network(low[:1]), network(low[1:])])
    torch.testing.assert_close(together, alone, atol=1e-5 * alone.abs().max().item(), rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_bf16_autocast_and_channels_last_give_the_image_of_float32(network_of, name):
    network, low = network_of(name), torch.rand(2, 3, 9, 12)
    with torch.no_grad():
        expected = network(low)
        with torch.autocast("cpu", torch.bfloat16):
            reduced = network(low).float()
        channels_last = network.to(memory_format=torch.channels_last)(low.to(memory_format=torch.channels_last))
    spread = expected.abs().max()
    assert (reduced - expected).abs().max() < 0.05 * spread
    assert (channels_last - expected).abs().max() < 1e-4 * spread


@pytest.mark.parametrize("name", NETWORKS)
def test_input_is_left_as_it_is(network_of, name):
    network, low = network_of(name), torch.rand(1, 3, 8, 8)
    before = low.clone()
    with torch.no_grad():
        network(low)
    assert torch.equal(low, before)


@pytest.mark.parametrize("name", NETWORKS)
def test_artefact_restores_the_network_exactly(network_of, name, tmp_path):
    network = network_of(name)
    node = yaml.safe_load(yaml.safe_dump(network.config or small(composed(name))))
    folder = save_artefact(tmp_path / "artefact", network, config={"model": {"network": node}}, metadata={})
    again = load_artefact(folder).network
    assert again.state_dict().keys() == network.state_dict().keys()
    low = torch.rand(1, 3, 6, 7)
    with torch.no_grad():
        assert torch.equal(again(low), network(low))


def critic_of(name, **changes):
    node = read(CONF / "critic" / f"{name}.yaml")
    inner = node.get("critic", node)
    inner |= {"num_features": 8} | changes
    torch.manual_seed(0)
    return instantiate(node), inner.get("input_size", 64)


def judged(critic, *shape):
    """Random images, or clips for a critic of these."""
    return torch.rand(*((shape[0], 3, *shape[1:]) if critic.takes_clips else shape))


@pytest.mark.parametrize("name", CRITICS)
def test_critic_gradients_reach_every_parameter_and_the_image(name):
    critic, size = critic_of(name)
    images = judged(critic, 2, 3, size, size).requires_grad_()
    logits = critic(images)
    assert logits.shape[:2] == (2, 1)
    torch.nn.functional.softplus(-logits).mean().backward()
    assert images.grad.abs().max() > 0
    for key, parameter in critic.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0, f"no gradient reaches {key}"


@pytest.mark.parametrize("name", CRITICS)
def test_critic_state_dict_round_trip(name):
    critic, size = critic_of(name)
    images = judged(critic, 2, 3, size, size)
    critic(images)  # moves the running statistics and the singular vectors
    again, _ = critic_of(name)
    again.load_state_dict(critic.state_dict())
    assert torch.equal(again.eval()(images), critic.eval()(images))


@pytest.mark.parametrize("name", CRITICS)
def test_critic_refuses_images_that_are_too_small(name):
    critic, _ = critic_of(name)
    with pytest.raises(ValueError, match="images of 4x6"):
        critic(judged(critic, 1, 3, 4, 6))


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in GENERATIVE])
@torch.inference_mode()
def test_tiles_are_the_whole_image_in_uint8(network_of, name):
    """Through the restorer, at the halo that it measures: no seam, at sizes that are no multiple of anything."""
    network = network_of(name)
    low = torch.rand(1, 3, 35, 109, generator=torch.Generator().manual_seed(0))
    restorer = NetworkRestorer(network, tile=96)
    whole = network(low)
    plan = restorer.plan(35, 109)
    assert len(plan.tiles) > 1
    assert np.array_equal(to_levels(restorer(low), np.uint8), to_levels(whole, np.uint8)), restorer.halo
