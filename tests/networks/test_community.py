"""Made-up weights in public layouts, loaded without naming their architecture."""

import pytest
import torch
import yaml
from safetensors.torch import save_file

from sr_lab.artefacts.artefact import load_artefact, save_artefact
from sr_lab.networks.community import Community, load_community
from sr_lab.networks.compact import Compact
from sr_lab.networks.keys import public_state_dict
from sr_lab.networks.rrdb import RRDBNet
from sr_lab.networks.swinir import SwinIR

spandrel = pytest.importorskip("spandrel")


def stirred(network):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


RRDB = {"num_blocks": 2, "num_features": 8, "growth": 32}


@pytest.mark.parametrize(
    ("own", "layout", "architecture"),
    [
        (Compact(scale=3, num_features=8, num_convs=2), "Real-ESRGAN", "Compact.Compact"),
        (RRDBNet(scale=4, **RRDB), "ESRGAN (old)", "ESRGAN.ESRGAN"),
        (RRDBNet(scale=4, **RRDB), "ESRGAN", "ESRGAN.ESRGAN"),
        (RRDBNet(scale=2, **RRDB), "BasicSR", "ESRGAN.ESRGAN"),
    ],
)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_public_weights_give_the_image_of_our_own_network(tmp_path, own, layout, architecture, suffix):
    state = public_state_dict(stirred(own), layout)
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save({"params_ema": state}, path)
    network = load_community(path=str(path))
    assert (network.scale, network.num_channels, network.training) == (own.scale, 3, False)
    assert network.architecture == architecture
    low = torch.rand(2, 3, 8, 12)
    with torch.no_grad():
        torch.testing.assert_close(network(low), own(low), atol=1e-5, rtol=1e-4)


def swinir_file(tmp_path):
    from spandrel.architectures.SwinIR import SwinIR as Authors

    theirs = Authors(
        upscale=2, in_chans=3, img_size=16, window_size=8, img_range=1.0, depths=[2, 2], embed_dim=12,
        num_heads=[3, 3], mlp_ratio=2, upsampler="pixelshuffledirect", resi_connection="1conv",
    )  # fmt: skip
    torch.save({"params": stirred(theirs).state_dict()}, tmp_path / "swinir.pth")
    return tmp_path / "swinir.pth"


def test_an_architecture_with_size_requirements(tmp_path):
    from sr_lab.networks.keys import convert_state_dict, read_weights

    path = swinir_file(tmp_path)
    network = load_community(path=str(path))
    ours = SwinIR(scale=2, num_features=12, num_groups=2, num_layers=2, num_heads=3).eval()
    ours.load_state_dict(convert_state_dict(read_weights(path), ours))
    low = torch.rand(1, 3, 20, 17)
    with torch.no_grad():
        torch.testing.assert_close(network(low), ours(low), atol=2e-5, rtol=1e-4)
        assert network(torch.rand(1, 3, 3, 1)).shape == (1, 3, 6, 2)


def test_a_fine_tuned_one_lives_on_in_its_artefact_without_the_file(tmp_path):
    path = swinir_file(tmp_path)
    network = load_community(path=str(path), scale=2, num_channels=3).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2)
    network(torch.rand(1, 3, 16, 16)).square().mean().backward()
    optimizer.step()
    path.unlink()
    config = yaml.safe_load(yaml.safe_dump({"model": {"network": network.config}}))
    again = load_artefact(save_artefact(tmp_path / "artefact", network, config=config, metadata={})).network
    low = torch.rand(1, 3, 12, 12)
    with torch.no_grad():
        assert torch.equal(again(low), network.eval()(low))


def compact_file(tmp_path):
    state = public_state_dict(Compact(scale=4, num_features=8, num_convs=2), "Real-ESRGAN")
    torch.save(state, tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth")


def test_another_scale_or_channels_than_asked_for(tmp_path):
    path = compact_file(tmp_path)
    with pytest.raises(ValueError, match=r"x4\) is for another factor than scale=2: give scale=4"):
        load_community(path=path, scale=2)
    with pytest.raises(ValueError, match="needs num_channels=3, not 1"):
        load_community(path=path, num_channels=1)


def test_unknown_weights(tmp_path):
    torch.save({"strange.weight": torch.rand(3)}, tmp_path / "weights.pth")
    with pytest.raises(
        ValueError, match=r"weights\.pth: spandrel .* does not know these weights: no architecture fits"
    ):
        load_community(path=str(tmp_path / "weights.pth"))
    with pytest.raises(FileNotFoundError, match="no weights at"):
        load_community(path=str(tmp_path / "nothing.pth"))


def test_nothing_in_the_file_is_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'owned')!r}, 'w')",)

    torch.save({"a": Evil()}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="does not hold weights alone"):
        load_community(path=str(tmp_path / "weights.pth"))
    assert not (tmp_path / "owned").exists()


def test_a_network_that_is_no_plain_image_to_image_one(tmp_path):
    """DRUNet wants a noise level beside the image: spandrel adds it, a plain call cannot."""
    from spandrel.architectures.DRUNet import DRUNet

    torch.save(stirred(DRUNet(in_nc=4, out_nc=3, nc=[4, 8, 8, 8], nb=2)).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"DRUNet, x1\) needs more than the image"):
        load_community(path=str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("architecture", ["os.system", "ESRGAN", "ESRGAN.StateDict", "ESRGAN.__loader__", ".ESRGAN"])
def test_only_spandrels_networks_are_built(architecture):
    with pytest.raises(ValueError, match="spandrel has none of this name"):
        Community(scale=4, num_channels=3, architecture=architecture, arguments={})


def test_without_spandrel_the_remedy_is_named(tmp_path, monkeypatch):
    path = compact_file(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "spandrel", None)
    with pytest.raises(ValueError, match=r"pip install 'sr-lab\[community\]'"):
        load_community(path=path)


def test_a_network_that_spandrel_calls_in_its_own_way(tmp_path):
    """As MixDehazeNet, whose output spandrel maps from [-1, 1]: the same shape, another image."""
    from sr_lab.networks import community

    network = load_community(path=compact_file(tmp_path))
    community._check_same(network, lambda low: network(low).clamp(0, 1), "weights")
    with pytest.raises(ValueError, match="weights needs more than the image"):
        community._check_same(network, lambda low: (network(low) * 0.5 + 0.5).clamp(0, 1), "weights")
