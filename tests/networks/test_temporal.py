"""Networks for clips: counts, warm starts, streaming, cuts, still scenes."""

import numpy as np
import pytest
import torch

from sr_lab.data.camera import camera_clip
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.temporal.base import flow_warp
from sr_lab.networks.temporal.basicvsr import BasicVSR
from sr_lab.networks.temporal.flow import DISFlow, SPyNet
from sr_lab.networks.temporal.recurrent import RecurrentEDSR, State
from sr_lab.networks.temporal.trusting import TrustingEDSR


def photo(seed: int = 0) -> torch.Tensor:
    low = torch.rand(1, 3, 15, 20, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(low, (120, 160), mode="bicubic", align_corners=False).clamp(0, 1)


KINDS = (RecurrentEDSR, TrustingEDSR)


def small(kind: type[RecurrentEDSR] = RecurrentEDSR, **settings) -> RecurrentEDSR:
    """With recurrent weights that do something."""
    torch.manual_seed(0)
    network = kind(image=EDSR(scale=2, num_blocks=1, num_features=8), **settings)
    torch.nn.init.normal_(network.recurrent.weight, std=0.05)
    if isinstance(network, TrustingEDSR):
        torch.nn.init.normal_(network.trust[-1].weight, std=0.1)
    return network.eval()


def pan(count: int = 5, **settings) -> torch.Tensor:
    settings = {"key": (0, 0, 3), "size": (48, 48), "speed": 4.0} | settings
    return camera_clip(photo(), count=count, **settings).frames[None]


def test_published_numbers_of_parameters():
    with torch.device("meta"):
        assert BasicVSR().num_parameters == 6_291_311
        assert sum(p.numel() for p in SPyNet().parameters()) == 1_440_300


def test_basicvsr_takes_clips_and_images_of_any_size():
    network = BasicVSR(num_features=8, num_blocks=1).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, 3, 20, 13)).shape == (1, 3, 3, 80, 52)
        assert network(torch.rand(2, 3, 9, 7)).shape == (2, 3, 36, 28)
    with pytest.raises(ValueError, match="enlarges by 4"):
        BasicVSR(scale=2)


def test_a_frame_of_basicvsr_depends_on_what_comes_before_and_after():
    torch.manual_seed(0)
    network = BasicVSR(num_features=8, num_blocks=1).eval()
    clip = torch.rand(1, 3, 3, 32, 32)
    with torch.no_grad():
        whole = network(clip)[:, 1]
        for other in (0, 2):
            changed = clip.clone()
            changed[:, other] = torch.rand(1, 3, 32, 32)
            assert not torch.equal(network(changed)[:, 1], whole)


def test_warping_by_dis_finds_the_frame_again():
    frames = pan(2)[0]
    flow = DISFlow()(frames[:1], frames[1:])
    inner = (..., slice(8, -8), slice(8, -8))
    moved = flow_warp(frames[1:], flow, border=True)
    assert (moved - frames[:1])[inner].abs().mean() < 0.3 * (frames[1:] - frames[:1])[inner].abs().mean()


def test_warping_by_dis_is_finer_on_frames_that_are_enlarged_for_the_search():
    found = pan(4, motion="similarity", event="crowd", others=[photo(1), photo(2)], size=(96, 96))
    frames = torch.nn.functional.avg_pool2d(found[0], 2)
    errors = []
    for enlarge in (1, 3):
        flow = DISFlow(enlarge=enlarge)(frames[:-1], frames[1:])
        errors.append(float((flow_warp(frames[1:], flow, border=True) - frames[:-1]).abs()[..., 4:-4, 4:-4].mean()))
    assert errors[1] < 0.9 * errors[0]
    with pytest.raises(ValueError, match="enlarge=0"):
        DISFlow(enlarge=0)


@pytest.mark.parametrize("kind", KINDS)
def test_it_begins_as_the_network_for_images(kind):
    torch.manual_seed(0)
    image = EDSR(scale=2, num_blocks=1, num_features=8).eval()
    network = kind(image=image).eval()
    clip = pan(3)
    with torch.no_grad():
        expected = torch.stack([image(clip[:, number]) for number in range(3)], dim=1)
        assert torch.equal(network(clip), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_streamed_is_batched_bit_for_bit(kind):
    network, clip = small(kind), torch.cat([pan(), pan(event="cut", other=photo(1))])
    with torch.no_grad():
        whole, state = network(clip), None
        for number in range(clip.shape[1]):
            frame, state = network.step(clip[:, number], state)
            assert torch.equal(frame, whole[:, number])


@pytest.mark.parametrize("kind", KINDS)
def test_no_frame_depends_on_a_later_one(kind):
    network, clip = small(kind), pan()
    with torch.no_grad():
        assert torch.equal(network(clip)[:, :3], network(clip[:, :3]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_is_forgotten_at_a_cut_and_used_elsewhere(kind):
    network = small(kind)
    dark, light = 0.2 * photo(0)[..., :48, :48], 0.5 + 0.5 * photo(1)[..., :48, :48]
    with torch.no_grad():
        _, state = network.step(dark)
        assert torch.equal(network.step(light, state)[0], network.step(light)[0])
        near = pan(2)
        _, state = network.step(near[:, 0])
        assert not torch.equal(network.step(near[:, 1], state)[0], network.step(near[:, 1])[0])


@pytest.mark.parametrize("kind", KINDS)
def test_an_equal_frame_is_not_computed_again_and_leaves_the_state(kind):
    network, frame = small(kind), pan(1)[:, 0]
    with torch.no_grad():
        first, state = network.step(frame)
        again, after = network.step(frame, state)
    assert again is first
    assert after is state


@pytest.mark.parametrize("kind", KINDS)
def test_300_equal_frames_do_not_drift(kind):
    """Neither by the rule for equal frames nor, with a little noise, when damped, by what is carried on."""
    network, frame = small(kind, leak=0.9, damping=0.78), pan(1)[:, 0]
    generator = np.random.default_rng(0)
    with torch.no_grad():
        alone, state, seen = network.step(frame)[0], None, {}
        for number in range(300):
            noise = torch.from_numpy(generator.normal(0, 0.002, (1, 3, 48, 48)).astype(np.float32))
            restored, state = network.step(frame + noise, state)
            seen[number] = float((restored - alone).square().mean())
    assert seen[299] <= 1.5 * max(seen[10], seen[9], seen[11]) + 1e-6


def test_it_sees_aliasing_as_the_low_frame_has_it():
    """A photo reduced, and its enlargement moved along: nothing is left over but where the frame is entered."""
    from sr_lab.images import resize_bicubic

    network = TrustingEDSR(image=EDSR(scale=4, num_blocks=1, num_features=8))
    noise = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    low = resize_bicubic(noise, scale=0.25)
    assert torch.allclose(network._reduced(noise)[..., 2:-2, 2:-2], low[..., 2:-2, 2:-2], atol=1e-6)
    moved = network._reduced(noise.roll(2, dims=-1))
    assert (moved - low).abs().mean() > 0.02


def test_what_was_hidden_before_leaves_a_residual():
    """Of a perfectly restored crowd, played backwards: pixels that appear are told from those that moved."""
    from sr_lab.images import resize_bicubic

    crowd = camera_clip(
        photo(), key=(0, 0, 5), count=5, size=(96, 96), speed=5.0, event="crowd", others=[photo(k) for k in (1, 2, 3)]
    )
    highs = crowd.frames.flip(0)
    lows = resize_bicubic(highs, scale=0.5)
    network = TrustingEDSR(image=EDSR(scale=2, num_blocks=1, num_features=8), flow=DISFlow(enlarge=3)).eval()
    with torch.no_grad():
        brought, expected, _ = network._seen(lows[1:], State(lows[:-1], highs[:-1]))
    residual = brought[:, 12:15].abs().mean(dim=1)
    appears = torch.from_numpy(crowd.covered.copy()).flip(0)[:, ::2, ::2]
    assert residual[appears].mean() > 5 * residual[~appears].mean()
    apart = (expected - highs[1:]).abs().mean(dim=1)[:, ::2, ::2]
    assert apart[appears].mean() > 5 * apart[~appears].mean()


def test_the_expected_frame_has_its_share_in_the_restored_one():
    network, clip = small(TrustingEDSR), pan(3)
    with torch.no_grad():
        own = network(clip)
        network.trust[-1].weight[1], network.trust[-1].bias[1] = 0.0, 10.0
        shared = network(clip)
        _, expected, share = network._seen(clip[:, 1], State(clip[:, 0], own[:, 0]))
    assert torch.equal(shared[:, 0], own[:, 0])
    assert share.min() > 0.99
    assert torch.allclose(shared[:, 1], expected, atol=1e-4)
    assert (shared[:, 1] - own[:, 1]).abs().max() > 0.01


def test_gradients_reach_the_recurrent_weights_through_time():
    torch.manual_seed(0)
    network = RecurrentEDSR(image=EDSR(scale=2, num_blocks=1, num_features=8)).train()
    clip = pan(3)
    network(clip)[:, 2].square().sum().backward()
    assert network.recurrent.weight.grad is not None
    assert network.recurrent.weight.grad.abs().max() > 0


def test_public_weights_of_basicvsr_are_a_restorer_of_clips(tmp_path):
    from sr_lab.inference.clips import ClipNetworkRestorer, restored_frames
    from sr_lab.workflows.load import load_restorer

    torch.manual_seed(0)
    network = BasicVSR(num_features=8, num_blocks=2)
    torch.save({"params": network.state_dict()}, tmp_path / "weights.pth")
    restorer = load_restorer(str(tmp_path / "weights.pth"), scale=4, device="cpu")
    assert isinstance(restorer, ClipNetworkRestorer)
    clip = torch.rand(1, 3, 3, 24, 20)
    with torch.no_grad():
        found = torch.stack(list(restored_frames(restorer, clip.unbind(dim=1))), dim=1)
        assert torch.equal(found, network.eval()(clip))
    with pytest.raises(ValueError, match="takes neither self_ensemble nor consistency"):
        load_restorer(str(tmp_path / "weights.pth"), scale=4, device="cpu", self_ensemble=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_causal_network_streams_through_its_restorer(kind):
    from sr_lab.inference.clips import network_restorer, restored_frames

    network, clip = small(kind), pan()
    with torch.no_grad():
        found = list(restored_frames(network_restorer(network), iter(clip.unbind(dim=1))))
        assert torch.equal(torch.stack(found, dim=1), network(clip))


@pytest.mark.parametrize("kind", KINDS)
def test_a_causal_network_is_tiled_and_computed_by_engines_without_seams(kind):
    from sr_lab.inference.clips import CausalRestorer
    from sr_lab.inference.engines import ENGINES, make_engine

    network, clip = small(kind), pan()
    with torch.no_grad():
        whole = network(clip)
        tiled = CausalRestorer(network, tile=24)
        assert torch.allclose(torch.stack(list(tiled.frames(clip.unbind(dim=1))), dim=1), whole, atol=1e-6)
        for name in [name for name, engine in ENGINES.items() if engine.available()]:
            restorer = CausalRestorer(network)
            engine = make_engine(restorer.windows.network, name)
            restorer.windows.apply = lambda seen, engine=engine: torch.from_numpy(engine(seen.numpy()))
            found = torch.stack(list(restorer.frames(clip.unbind(dim=1))), dim=1)
            assert torch.allclose(found, whole, atol=1e-5), name


def test_grey_clips_are_restored_by_a_network_of_colours():
    from sr_lab.inference.clips import network_restorer

    network, grey = small(), pan()[:, :, :1]
    with torch.no_grad():
        found = torch.stack(list(network_restorer(network).frames(grey.unbind(dim=1))), dim=1)
        expected = network(grey.expand(-1, -1, 3, -1, -1)).mean(dim=2, keepdim=True)
        assert torch.allclose(found, expected, atol=1e-6)


def summed(**settings):
    """Each frame is the sum of those that it was seen together with."""
    from sr_lab.inference.clips import WindowedRestorer

    class Summing:
        scale, metadata = 1, None

        def frames(self, lows):
            lows = list(lows)
            return iter([sum(lows) for _ in lows])

    return WindowedRestorer(Summing(), **settings)


def numbered(count: int) -> list[torch.Tensor]:
    """Frames of one scene, of which frame n has the value n / 1000."""
    return [torch.full((1, 1, 16, 16), number / 1000, dtype=torch.float64) for number in range(1, count + 1)]


@pytest.mark.parametrize("count", [1, 3, 4, 7, 8, 11])
@pytest.mark.parametrize("stopped", range(0, 11, 2))
def test_windows_see_their_margins_wherever_the_work_was_stopped(count, stopped):
    lows, windowed = numbered(count), summed(window=4, margin=2)
    frames = windowed.frames(iter(lows))
    found = [next(frames) for _ in range(min(stopped, count))]
    again = summed(window=4, margin=2)
    again.number, again.past = windowed.number, list(windowed.past)
    found += again.frames(iter(lows[len(found) :]))
    seen = [(number // 4 * 4, number // 4 * 4 + 4) for number in range(count)]
    expected = [sum(range(max(0, begin - 2) + 1, min(count, end + 2) + 1)) for begin, end in seen]
    assert [round(1000 * float(each.mean())) for each in found] == expected


def test_windows_end_at_cuts_and_equal_frames_are_seen_once():
    dark, light = numbered(3), [0.9 + each for each in numbered(3)]
    lows = [dark[0], dark[1], dark[1], light[0], light[1], light[1], light[2]]
    found = [round(1000 * float(each.mean())) for each in summed(window=4, margin=2).frames(lows)]
    first, second, rest = 1 + 2, 901 + 902, 901 + 902 + 903
    assert found == [first, first, first, second, rest, rest, rest]


def test_frames_of_any_form_are_restored_in_their_order_and_as_they_come():
    from sr_lab.inference.clips import network_restorer
    from sr_lab.inference.pictures import PictureRestorer

    network, clip = small(), pan(4)
    restorer = PictureRestorer(network_restorer(network), name="clips")
    with torch.no_grad():
        whole = network(clip)[0].clamp(0, 1)
    given = iter(clip[0])
    frames = restorer.frames(given)
    assert torch.equal(next(frames), whole[0])
    assert len(list(given)) == 3  # one frame was taken, and no more
    levels = [np.round(255 * frame.permute(1, 2, 0).numpy()).astype(np.uint8) for frame in clip[0]]
    found = list(restorer.frames(levels))
    assert {each.dtype for each in found} == {np.dtype(np.uint8)}
    assert np.abs(np.stack(found) / 255 - whole.permute(0, 2, 3, 1).numpy()).max() < 0.02
    assert not np.array_equal(found[3], restorer(levels[3]))
    with pytest.raises(ValueError, match="a batch of 4"):
        list(restorer.frames([clip[0]]))


@pytest.mark.parametrize("target", ["onnx", "openvino"])
@pytest.mark.parametrize("kind", ["recurrent", "recurrent, gated", "trusting"])
def test_the_graph_of_a_step_is_the_step(target, kind, tmp_path):
    """Over a pan, a cut and a frame that stays."""
    pytest.importorskip("onnx")
    pytest.importorskip({"onnx": "onnxruntime"}.get(target, target))
    from sr_lab.artefacts.export import graphs
    from sr_lab.inference.runtimes import open_step
    from sr_lab.networks.graph.network import GraphStep
    from sr_lab.networks.graph.step import plain_step

    network = {
        "recurrent": lambda: small(gate=0.0),
        "recurrent, gated": lambda: small(gate=50.0),
        "trusting": lambda: small(TrustingEDSR, flow=DISFlow(enlarge=3), leak=0.9, damping=0.9),
    }[kind]()
    model = graphs.onnx_bytes(plain_step(network))
    graph = GraphStep.of(model, scale=2, num_channels=3, flow_enlarge=network.flow.enlarge)
    if target == "openvino":
        graphs.write_openvino(tmp_path, model, half=False)
        graph.compute = open_step(tmp_path, target)
    clip = pan(6, event="cut", other=photo(1))
    clip = torch.cat([clip, clip[:, -1:]], dim=1)
    with torch.no_grad():
        assert torch.allclose(graph(clip), network(clip), atol=3e-6)
        assert not torch.allclose(network(clip)[:, 1], network(clip[:, 1:])[:, 0], atol=1e-3)  # the state counts
        assert torch.allclose(graph(clip[:, 0]), network(clip[:, 0]), atol=3e-6)


def test_steps_that_have_no_graph_say_why():
    from sr_lab.networks.graph import NotPlain
    from sr_lab.networks.graph.step import plain_step

    with pytest.raises(NotPlain, match="a flow that is trained"):
        plain_step(small(flow=SPyNet()))
    with pytest.raises(NotPlain, match="Another has no step"):
        plain_step(small(type("Another", (RecurrentEDSR,), {})))
    with pytest.raises(NotPlain, match="BasicVSR has no step"):
        plain_step(BasicVSR(num_features=8, num_blocks=1))


def test_an_artefact_of_a_causal_network_with_a_trained_flow_is_loaded_again(tmp_path):
    from sr_lab.artefacts.artefact import complete_config, load_artefact, save_artefact

    edsr = {"_target_": "sr_lab.networks.edsr.EDSR", "scale": 2, "num_blocks": 1, "num_features": 8}
    flow = {"_target_": "sr_lab.networks.temporal.flow.SPyNet"}
    node = {"_target_": "sr_lab.networks.temporal.recurrent.RecurrentEDSR", "image": edsr, "flow": flow}
    network = small(flow=SPyNet())
    assert complete_config(node, network) == node
    save_artefact(tmp_path / "best", network, config={"model": {"network": node}}, metadata={})
    with torch.no_grad():
        assert torch.equal(load_artefact(tmp_path / "best").network(pan(2)), network(pan(2)))
