"""Made-up weights under the authors' names, run by small independent forward passes written against those names."""

import pytest
import torch
from torch.nn import functional

from sr_lab.networks.compact import Compact
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.keys import convert_state_dict, public_state_dict, read_weights, warm_start
from sr_lab.networks.rdn import RDN
from sr_lab.networks.rrdb import RRDBNet

MEAN = torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1) * 255


class Weights(dict):
    """Weights that are made up when a forward pass first asks for them."""

    def conv(self, features, name, channels_out, kernel=3):
        if f"{name}.weight" not in self:
            fan_in = features.shape[1] * kernel**2
            self[f"{name}.weight"] = torch.randn(channels_out, features.shape[1], kernel, kernel) * fan_in**-0.5
            self[f"{name}.bias"] = 0.1 * torch.randn(channels_out)
        return functional.conv2d(features, self[f"{name}.weight"], self[f"{name}.bias"], padding=kernel // 2)


def edsr_pytorch(weights, low, scale):
    eye = torch.eye(3).view(3, 3, 1, 1)
    weights["sub_mean.weight"], weights["sub_mean.bias"] = eye, -MEAN.flatten()
    weights["add_mean.weight"], weights["add_mean.bias"] = eye.clone(), MEAN.flatten()
    head = weights.conv(low * 255 - MEAN, "head.0", 6)
    x = head
    for block in range(2):
        x = x + 0.1 * weights.conv(weights.conv(x, f"body.{block}.body.0", 6).relu(), f"body.{block}.body.2", 6)
    x = weights.conv(x, "body.2", 6) + head
    for stage, factor in enumerate({2: [2], 3: [3], 4: [2, 2]}[scale]):
        x = functional.pixel_shuffle(weights.conv(x, f"tail.0.{2 * stage}", 6 * factor**2), factor)
    return (weights.conv(x, "tail.1", 3) + MEAN) / 255


def edsr_basicsr(weights, low, scale):
    mean = MEAN / 255
    first = weights.conv((low - mean) * 255, "conv_first", 6)
    x = first
    for block in range(2):
        x = x + 0.1 * weights.conv(weights.conv(x, f"body.{block}.conv1", 6).relu(), f"body.{block}.conv2", 6)
    x = weights.conv(x, "conv_after_body", 6) + first
    for stage, factor in enumerate({2: [2], 3: [3], 4: [2, 2]}[scale]):
        x = functional.pixel_shuffle(weights.conv(x, f"upsample.{2 * stage}", 6 * factor**2), factor)
    return weights.conv(x, "conv_last", 3) / 255 + mean


def rdn(weights, low, scale, *, names):
    first = weights.conv(low * 255, names["first"], 6)
    x = weights.conv(first, names["second"], 6)
    outputs = []
    for block in range(2):
        dense = x
        for layer in range(3):
            dense = torch.cat([dense, weights.conv(dense, names["dense"].format(block, layer), 4).relu()], 1)
        x = x + weights.conv(dense, names["local"].format(block), 6, kernel=1)
        outputs.append(x)
    x = weights.conv(
        weights.conv(torch.cat(outputs, 1), names["global"] + ".0", 6, kernel=1), names["global"] + ".1", 6
    )
    x = x + first
    factors = {2: [2], 3: [3], 4: [2, 2]}[scale]
    for stage, factor in enumerate(factors):
        x = functional.pixel_shuffle(weights.conv(x, f"{names['up']}.{2 * stage}", 6 * factor**2), factor)
    return weights.conv(x, names["last"].format(2 * len(factors)), 3) / 255


def rdn_edsr_pytorch(weights, low, scale):
    names = {"first": "SFENet1", "second": "SFENet2", "dense": "RDBs.{}.convs.{}.conv.0", "local": "RDBs.{}.LFF"}
    return rdn(weights, low, scale, names=names | {"global": "GFF", "up": "UPNet", "last": "UPNet.{}"})


def rdn_pytorch(weights, low, scale):
    names = {"first": "sfe1", "second": "sfe2", "dense": "rdbs.{}.layers.{}.conv", "local": "rdbs.{}.lff"}
    return rdn(weights, low, scale, names=names | {"global": "gff", "up": "upscale", "last": "output"})


def rrdb(weights, low, scale, *, names):
    def leaky(x):
        return functional.leaky_relu(x, 0.2)

    x = low
    if scale < 4:
        x = functional.pixel_unshuffle(low, 4 // scale)
    first = weights.conv(x, names["first"], 6)
    x = first
    for block in range(2):
        outer = x
        for dense in (1, 2, 3):
            inner = [x]
            for layer in (1, 2, 3, 4):
                inner.append(leaky(weights.conv(torch.cat(inner, 1), names["dense"].format(block, dense, layer), 4)))
            x = x + 0.2 * weights.conv(torch.cat(inner, 1), names["dense"].format(block, dense, 5), 6)
        x = outer + 0.2 * x
    x = first + weights.conv(x, names["trunk"], 6)
    for name in names["up"]:
        x = leaky(weights.conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3), name, 6))
    return weights.conv(leaky(weights.conv(x, names["high"], 6)), names["last"], 3)


def rrdb_esrgan(weights, low, scale):
    names = {"first": "conv_first", "dense": "RRDB_trunk.{}.RDB{}.conv{}", "trunk": "trunk_conv", "high": "HRconv"}
    return rrdb(weights, low, scale, names=names | {"up": ["upconv1", "upconv2"], "last": "conv_last"})


def rrdb_basicsr(weights, low, scale):
    names = {"first": "conv_first", "dense": "body.{}.rdb{}.conv{}", "trunk": "conv_body", "high": "conv_hr"}
    return rrdb(weights, low, scale, names=names | {"up": ["conv_up1", "conv_up2"], "last": "conv_last"})


def rrdb_old(weights, low, scale):
    names = {"first": "model.0", "dense": "model.1.sub.{}.RDB{}.conv{}.0", "trunk": "model.1.sub.2"}
    return rrdb(
        weights, low, scale, names=names | {"up": ["model.3", "model.6"], "high": "model.8", "last": "model.10"}
    )


def compact(weights, low, scale):
    x = low
    for layer in range(4):
        x = weights.conv(x, f"body.{2 * layer}", 6)
        slope = weights.setdefault(f"body.{2 * layer + 1}.weight", torch.rand(6))
        x = torch.where(x > 0, x, x * slope.view(1, -1, 1, 1))
    x = functional.pixel_shuffle(weights.conv(x, "body.8", 3 * scale**2), scale)
    return x + low.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


NETWORKS = {
    EDSR: {"num_blocks": 2, "num_features": 6, "res_scale": 0.1},
    RDN: {"num_blocks": 2, "num_layers": 3, "growth": 4, "num_features": 6},
    RRDBNet: {"num_blocks": 2, "num_features": 6, "growth": 4},
    Compact: {"num_features": 6, "num_convs": 3},
}
LAYOUTS = [
    (EDSR, "EDSR-PyTorch", edsr_pytorch, (2, 3, 4)),
    (EDSR, "BasicSR", edsr_basicsr, (2, 3, 4)),
    (RDN, "EDSR-PyTorch", rdn_edsr_pytorch, (2, 3, 4)),
    (RDN, "RDN-pytorch", rdn_pytorch, (2, 3, 4)),
    (RRDBNet, "ESRGAN", rrdb_esrgan, (4,)),
    (RRDBNet, "ESRGAN (old)", rrdb_old, (4,)),
    (RRDBNet, "BasicSR", rrdb_basicsr, (1, 2, 4)),
    (Compact, "Real-ESRGAN", compact, (1, 2, 3, 4)),
]
CASES = [(*case[:3], scale) for case in LAYOUTS for scale in case[3]]


@pytest.mark.parametrize(("network_class", "layout", "reference", "scale"), CASES)
def test_weights_of_the_authors_give_the_authors_image(network_class, layout, reference, scale):
    torch.manual_seed(0)
    low, weights = torch.rand(1, 3, 8, 12), Weights()
    expected = reference(weights, low, scale)
    network = network_class(scale=scale, **NETWORKS[network_class])
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    converted = convert_state_dict({"params_ema": dict(weights)}, network)
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items()), "must be pure"
    network.load_state_dict(converted)
    with torch.no_grad():
        torch.testing.assert_close(network(low), expected, atol=1e-5, rtol=1e-4)
    public = public_state_dict(network, layout)
    assert public.keys() == weights.keys()
    assert all(torch.equal(public[key], weights[key]) or "mean" in key for key in weights)


@pytest.mark.parametrize("network_class", NETWORKS)
def test_own_names_pass_and_prefixes_are_taken_off(network_class):
    network = network_class(scale=2, **NETWORKS[network_class])
    own = network.state_dict()
    wrapped = {"step": 5, "state_dict": {f"module.{key}": tensor for key, tensor in own.items()}}
    for state in (own, wrapped):
        converted = convert_state_dict(state, network)
        assert converted.keys() == own.keys()
        assert all(torch.equal(converted[key], own[key]) for key in own)


def public_edsr():
    network = EDSR(scale=2, **NETWORKS[EDSR])
    return network, public_state_dict(network, "BasicSR")


def test_a_missing_tensor_is_named_as_its_authors_name_it():
    network, state = public_edsr()
    del state["body.1.conv2.bias"]
    with pytest.raises(ValueError, match=r"layout of BasicSR do not fit this EDSR: missing body\.1\.conv2\.bias"):
        convert_state_dict(state, network)


def test_a_tensor_too_many_is_named():
    network, state = public_edsr()
    state["body.2.conv1.weight"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"left over body\.2\.conv1\.weight"):
        convert_state_dict(state, network)


def test_another_scale_is_named_by_its_shapes():
    _, state = public_edsr()
    with pytest.raises(ValueError, match=r"upsample\.0\.weight is 24x6x3x3 and not 54x6x3x3"):
        convert_state_dict(state, EDSR(scale=3, **NETWORKS[EDSR]))


def test_foreign_weights():
    network, _ = public_edsr()
    with pytest.raises(ValueError, match=r"no weights of EDSR.*EDSR-PyTorch, BasicSR.*found layer1"):
        convert_state_dict({"layer1.weight": torch.zeros(1)}, network)


def test_another_mean_colour_is_not_dropped_silently():
    network = EDSR(scale=2, **NETWORKS[EDSR])
    state = public_state_dict(network, "EDSR-PyTorch")
    state["sub_mean.bias"] = -torch.tensor([0.5, 0.5, 0.5]) * 255
    with pytest.raises(ValueError, match=r"sub_mean\.bias .* give the network their mean"):
        convert_state_dict(state, network)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_files_are_read_as_tensors(tmp_path, suffix):
    from safetensors.torch import save_file

    path = tmp_path / f"weights.{suffix}"
    state = {"a.weight": torch.rand(2, 3)}
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    assert torch.equal(read_weights(path)["a.weight"], state["a.weight"])


def test_a_file_that_would_execute_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'owned')!r}, 'w')",)

    torch.save({"a": Evil()}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="does not hold weights alone"):
        read_weights(tmp_path / "weights.pth")
    assert not (tmp_path / "owned").exists()
    with pytest.raises(FileNotFoundError, match="no weights at"):
        read_weights(tmp_path / "nothing.pth")


@pytest.mark.parametrize("scale", [3, 4])
@pytest.mark.parametrize(
    ("network_class", "left"),
    [
        (EDSR, {3: ["upsampler.0"], 4: ["upsampler.2"]}),
        (RDN, {3: ["upsampler.0"], 4: ["upsampler.2"]}),
        (RRDBNet, {3: ["head"], 4: ["head"]}),
        (Compact, {3: ["upsampler.0"], 4: ["upsampler.0"]}),
    ],
)
def test_warm_start_from_x2_leaves_the_upsampling_only(network_class, left, scale):
    torch.manual_seed(0)
    source = network_class(scale=2, **NETWORKS[network_class])
    network = network_class(scale=scale, **NETWORKS[network_class])
    fresh = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    names = warm_start(network, source.state_dict())
    shapes = {key: tensor.shape for key, tensor in source.state_dict().items()}
    expected = [f"{part}.{kind}" for part in left[scale] for kind in ("weight", "bias")]
    assert names == [key for key in expected if shapes.get(key) != fresh[key].shape]
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, fresh[key] if key in names else source.state_dict()[key]), key


def test_warm_start_refuses_another_network_and_leaves_this_one():
    network = EDSR(scale=4, **NETWORKS[EDSR])
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    for source in (EDSR(scale=2, num_blocks=3, num_features=6), EDSR(scale=2, num_blocks=2, num_features=8)):
        with pytest.raises(ValueError, match=r"not of a EDSR that differs in scale only: .*body"):
            warm_start(network, source.state_dict())
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
