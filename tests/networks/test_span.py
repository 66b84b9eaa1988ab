"""SPAN: its published size, the authors' function, and that collapsing changes nothing."""

import pytest
import torch
from spandrel.architectures.SPAN.__arch import span as authors  # type: ignore[import-untyped]

from sr_lab.networks.ecbsr import EdgeConv
from sr_lab.networks.span import SPAN, WideConv

CONVOLUTIONS = {"beside": "sk", "widen": "conv.0", "middle": "conv.1", "narrow": "conv.2"}


def renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The authors' weights under our names."""
    places = {"head": "conv_1", "tail": "conv_2", "mix": "conv_cat", "upsampler.0": "upsampler.0"}
    for block in range(6):
        places |= {f"blocks.{block}.{ours}": f"block_{block + 1}.{theirs}"
                   for ours, theirs in (("first", "c1_r"), ("second", "c2_r"), ("third", "c3_r"))}  # fmt: skip
    found = {}
    for key in SPAN(scale=4, num_features=8).state_dict():
        place = next(place for place in places if key.startswith(place + "."))
        middle, _, last = key.removeprefix(place + ".").rpartition(".")
        found[key] = state[".".join(filter(None, (places[place], CONVOLUTIONS.get(middle, middle), last)))]
    return found


def test_it_is_the_authors_function() -> None:
    torch.manual_seed(0)
    theirs = authors.SPAN(num_in_ch=3, num_out_ch=3, upscale=4, feature_channels=8, norm=False).train()
    ours = SPAN(scale=4, num_features=8)
    ours.load_state_dict(renamed(theirs.state_dict()))
    low = torch.rand(2, 3, 13, 17)
    with torch.no_grad():
        torch.testing.assert_close(ours(low), theirs(low), atol=1e-5, rtol=1e-4)


def test_collapsed_it_is_the_same_function_with_the_published_size() -> None:
    torch.manual_seed(0)
    network, low = SPAN(scale=4), torch.rand(1, 3, 12, 16)
    plain = network.collapse()
    assert plain.num_parameters == 426_288
    assert not any("widen" in name for name in plain.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(plain(low), network(low), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(plain.collapse()(low), plain(low))


@pytest.mark.parametrize("kind", [WideConv, EdgeConv])
def test_kernels_stay_float32_under_autocast(kind: type[WideConv] | type[EdgeConv]) -> None:
    convolution = kind(3, 4)
    expected, _ = convolution.kernel()
    with torch.autocast("cpu", torch.bfloat16):
        weight, bias = convolution.kernel()
    assert weight.dtype == bias.dtype == torch.float32
    assert torch.equal(weight, expected)
