"""Networks that draw images: by seed, alike in every batch and in tiles, whole in their artefact."""

import pytest
import torch
import yaml
from torch.export import Dim, export

from sr_lab.artefacts.artefact import complete_config, load_artefact, load_network, save_artefact
from sr_lab.images import resize_bicubic
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.pmrf import PMRF
from sr_lab.networks.resshift import ResShift
from sr_lab.networks.unet import UNet

UNET = {
    "_target_": "sr_lab.networks.unet.UNet",
    "scale": 4,
    "num_features": 8,
    "multipliers": [1, 2],
    "num_blocks": 1,
}
SMALL_EDSR = {"_target_": "sr_lab.networks.edsr.EDSR", "scale": 4, "num_blocks": 1, "num_features": 4}


def unet():
    return UNet(scale=4, num_features=8, multipliers=(1, 2), num_blocks=1)


def randomised(network, by):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(by * torch.randn_like(parameter))
    return network.eval()


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    mean = EDSR(scale=4, num_blocks=1, num_features=4)
    return {
        "resshift": randomised(ResShift(denoiser=unet(), num_steps=4, first=0.1), 0.05),
        "pmrf": randomised(PMRF(denoiser=unet(), mean=mean, num_steps=3), 0.02),
        "student": randomised(ResShift(denoiser=unet(), num_steps=1), 0.05),
    }


KINDS = ["resshift", "pmrf", "student"]


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_image_other_seed_other_image(networks, kind):
    network, low = networks[kind], torch.rand(1, 3, 5, 6)
    with torch.no_grad():
        first, again, other = (network.sample(low, seeds=[seed]) for seed in (7, 7, 8))
        assert first.shape == (1, 3, 20, 24)
        assert torch.equal(first, again)
        assert (first - other).abs().max() > 1e-3
        assert torch.equal(network(low), network.sample(low, seeds=[0])), "the plain network is seed 0"


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_does_not_depend_on_its_batch(networks, kind):
    network, low = networks[kind], torch.rand(3, 3, 4, 5)
    with torch.no_grad():
        together = network.sample(low, seeds=[3, 1, 2])
        torch.testing.assert_close(together[1:2], network.sample(low[1:2], seeds=[1]), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(network.sample(low, seeds=[1])[1], together[1], atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="2 seeds for 3 images: give one, or one for each image"):
        network.sample(low, seeds=[0, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiled_sample_is_the_untiled_one(networks, kind):
    """But for the tiles' edges, where the denoiser sees less: the noise is that of the whole image."""
    network, low = networks[kind], torch.rand(1, 3, 70, 33)
    sizes = []
    hook = network.denoiser.register_forward_hook(lambda _, inputs, __: sizes.append(inputs[0].shape[-2]))
    with torch.no_grad():
        whole, other = (network.sample(low, seeds=[seed]) for seed in (5, 6))
        sizes.clear()
        tiled = network.sample(low, seeds=[5], tile=48, overlap=22)
    hook.remove()
    assert len(sizes) >= 2
    assert max(sizes) <= 48, "the network saw more than a tile"
    assert (tiled - whole).std() < 0.02 * (other - whole).std()


def test_another_number_of_steps(networks):
    low = torch.rand(1, 3, 6, 6)
    with torch.no_grad():
        for kind, counts in (("resshift", (1, 2, 4)), ("pmrf", (1, 7))):
            calls = []
            hook = networks[kind].denoiser.register_forward_hook(lambda *_, calls=calls: calls.append(1))
            for count in counts:
                calls.clear()
                networks[kind].sample(low, seeds=[0], num_steps=count)
                assert len(calls) == count
            hook.remove()
    with pytest.raises(ValueError, match="num_steps=5: must lie between 1 and the chain's 4"):
        networks["resshift"].sample(low, seeds=[0], num_steps=5)


@pytest.mark.parametrize("kind", ["resshift", "pmrf"])
def test_an_estimate_of_an_oracle_is_the_target(kind, networks, monkeypatch):
    """A denoiser that knows the answer gives the target at every time; so the loss's least value is 0 there."""
    network, low, high = networks[kind], torch.rand(4, 3, 4, 4), torch.rand(4, 3, 16, 16)
    noise, uniform = torch.randn(4, 3, 16, 16), torch.tensor([0.0, 0.3, 0.6, 0.999], dtype=torch.float64)
    answer = high if kind == "resshift" else high - network.sigma * noise
    monkeypatch.setattr(network.denoiser, "forward", lambda *_: answer)
    torch.testing.assert_close(network.estimate(low, high, noise=noise, uniform=uniform), high, atol=1e-5, rtol=0)


def test_resshift_draws_every_step_equally_often(networks, monkeypatch):
    network, seen = networks["resshift"], []
    monkeypatch.setattr(network.denoiser, "forward", lambda low, noisy, time, base: seen.extend(time.tolist()) or base)
    count = 400
    low, high = torch.rand(count, 3, 1, 1), torch.rand(count, 3, 4, 4)
    uniform = torch.arange(count, dtype=torch.float64) / count
    network.estimate(low, high, noise=torch.randn(count, 3, 4, 4), uniform=uniform)
    assert {time: seen.count(time) for time in seen} == {0.25: 100, 0.5: 100, 0.75: 100, 1.0: 100}


def test_the_start_decides_what_is_transported(networks):
    """A student of one step starts from the very noise from which its teacher starts."""
    low, starts = torch.rand(2, 3, 5, 5), []
    for kind in ("resshift", "student"):
        inputs = []
        hook = networks[kind].denoiser.register_forward_hook(lambda _, given, __, kept=inputs: kept.append(given[1]))
        with torch.no_grad():
            first, again = (networks[kind].transport(low, seeds=[4, 9]) for _ in range(2))
        hook.remove()
        assert torch.equal(first, again)
        starts.append(inputs[0])
    assert torch.equal(*starts)


def test_pmrf_starts_at_its_mean_and_leaves_it_alone(networks):
    network, low = networks["pmrf"], torch.rand(1, 3, 5, 6)
    assert not any(parameter.requires_grad for parameter in network.mean.parameters())
    network.train()
    assert network.denoiser.training
    assert not network.mean.training
    network.eval()
    still = PMRF(denoiser=unet(), mean=network.mean, sigma=1e-6, num_steps=2)
    with torch.no_grad():
        torch.testing.assert_close(still(low), network.mean(low), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="the mean's network is x2 of 3 channels, the denoiser is x4 of 3"):
        PMRF(denoiser=unet(), mean=EDSR(scale=2, num_blocks=1, num_features=4))


def test_resshift_before_training_is_bicubic():
    low = torch.rand(1, 3, 5, 6)
    with torch.no_grad():
        torch.testing.assert_close(ResShift(denoiser=unet())(low), resize_bicubic(low, scale=4.0), atol=1e-5, rtol=1e-5)


def test_an_artefact_of_pmrf_carries_its_mean(tmp_path):
    """The mean is read from an artefact once; the artefact of the whole needs that file no more."""
    torch.manual_seed(1)
    source = randomised(EDSR(scale=4, num_blocks=1, num_features=4), 0.05)
    folder = save_artefact(tmp_path / "mean", source, config={"model": {"network": SMALL_EDSR}}, metadata={})
    network = randomised(PMRF(denoiser=unet(), mean=load_network(path=str(folder)), num_steps=2), 0.0)
    node = {
        "_target_": "sr_lab.networks.pmrf.PMRF",
        "denoiser": UNET,
        "mean": {"_target_": "sr_lab.artefacts.artefact.load_network", "path": str(folder)},
        "num_steps": 2,
    }
    whole = complete_config(node, network)
    assert whole["mean"] == SMALL_EDSR
    config = yaml.safe_load(yaml.safe_dump({"model": {"network": whole}}))
    saved = save_artefact(tmp_path / "whole", network, config=config, metadata={})
    (folder / "weights.safetensors").unlink()
    again, low = load_artefact(saved).network, torch.rand(1, 3, 6, 5)
    with torch.no_grad():
        assert torch.equal(again(low), network(low))
        assert torch.equal(again.mean(low), source(low))


def test_a_part_that_is_no_network_is_refused():
    from sr_lab.artefacts.artefact import build_network

    with pytest.raises(ValueError, match=r"'os\.system' is not a network"):
        build_network({"_target_": "sr_lab.networks.resshift.ResShift", "denoiser": {"_target_": "os.system"}})


def test_one_export_serves_every_batch_and_size():
    """The exported graph is a sample of seed 0, noise included: the noise is a function of the pixel's number."""
    torch.manual_seed(0)
    network = randomised(ResShift(denoiser=unet(), num_steps=2), 0.05)
    shapes = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC(min=9), 3: Dim.DYNAMIC(min=9)},)
    program = export(network.for_graph(), (torch.rand(2, 3, 11, 14),), dynamic_shapes=shapes).module()
    for shape in [(1, 9, 9), (3, 10, 21)]:
        low = torch.rand(shape[0], 3, *shape[1:])
        with torch.no_grad():
            expected = network(low)
            torch.testing.assert_close(program(low), expected, atol=1e-5 * expected.abs().max().item(), rtol=1e-4)


def test_a_graph_of_a_long_chain_visits_few_steps():
    network, low = randomised(ResShift(denoiser=unet(), num_steps=15), 0.05), torch.rand(1, 3, 5, 5)
    with torch.no_grad():
        assert torch.equal(network.for_graph()(low), network.sample(low, seeds=[0], num_steps=4))
    short = EDSR(scale=2, num_blocks=1, num_features=4)
    assert short.for_graph() is short


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_draws_the_image_of_the_cpu(networks, kind):
    network, low = networks[kind], torch.rand(1, 3, 9, 9)
    with torch.no_grad():
        expected = network.sample(low, seeds=[3])
        drawn = network.cuda().sample(low.cuda(), seeds=[3]).cpu()
    network.cpu()
    torch.testing.assert_close(drawn, expected, atol=1e-2 * expected.abs().max().item(), rtol=0)
