"""Gates, order, choice, targets, records, and the two ways of running."""

import json
from itertools import permutations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from sr_lab.degradations import canvas as canvases
from sr_lab.degradations.base import keyed_generator, params_from_records, record
from sr_lab.degradations.blur import Blur
from sr_lab.degradations.canvas import Canvas
from sr_lab.degradations.colour import Banding, ColourShift
from sr_lab.degradations.compression import Jpeg, Quantise
from sr_lab.degradations.identity import Identity
from sr_lab.degradations.noise import GaussianNoise, PoissonNoise
from sr_lab.degradations.pipeline import Chain, Choice, Pipeline, Shuffle
from sr_lab.degradations.resize import Bicubic, RandomResize, ResizeTo, Stride
from sr_lab.degradations.sharpen import Sharpen


def varied(target: bool = False) -> Pipeline:
    resize = RandomResize(factor=[0.3, 1.4], modes={"area": 1, "bilinear": 1, "cubic": 1, "nearest": 1})
    noise = {
        "gauss": GaussianNoise(sigma=[1, 20], colours={"colour": 1, "correlated": 1}),
        "photons": PoissonNoise(strength=1),
    }
    ops = {
        "blur": Blur(kinds={"isotropic": 1, "sinc": 1}, probability=0.6),
        "mixed": Shuffle(
            ops={
                "resize": resize,
                "noise": Choice(ops=noise, weights={"gauss": 2, "photons": 1}, probability=0.8),
                "bands": Banding(levels=[30, 60], probability=0.5),
                "back": ResizeTo(scale=4, modes={"area": 1, "bicubic": 1}),
            },
            before={"resize": "back"},
        ),
        "quantise": Quantise(),
    }
    return Pipeline(ops=ops, target=Sharpen(radius=11, probability=0.7) if target else None)


def test_gates_open_with_their_probability_and_are_recorded(photos: Tensor) -> None:
    pipeline = Pipeline(ops={"dim": ColourShift(gain=0.5, probability=0.3)})
    params = pipeline.draw(20_000, keyed_generator(0))
    assert params["dim.on"].double().mean().item() == pytest.approx(0.3, abs=0.015)
    on = torch.tensor([True, False, True, False, False, True])
    six = {name: values[:6] for name, values in params.items()} | {"dim.on": on}
    low = pipeline.apply(photos, six)
    torch.testing.assert_close(low[on], photos[on] * 0.5)
    assert torch.equal(low[~on], photos[~on])
    assert torch.equal(pipeline.apply_canvas(photos, pipeline.checked(six, 6))[~on], photos[~on])


def test_orders_are_uniform_and_keep_what_comes_before() -> None:
    ops = {name: Identity() for name in "abcd"}
    free = Shuffle(ops=ops).draw(24_000, keyed_generator(0))["order"]
    orders, counts = np.unique(free.numpy(), axis=0, return_counts=True)
    assert len(orders) == len(list(permutations("abcd")))
    np.testing.assert_allclose(counts / 24_000, 1 / 24, rtol=0.15)
    bound = Shuffle(ops=ops, before={"b": "c"}).draw(2000, keyed_generator(0))["order"]
    place = bound.argsort(dim=1)
    assert (place[:, 1] < place[:, 2]).all()
    assert torch.equal(bound.sort(dim=1).values, torch.arange(4).expand(2000, -1))


def test_an_order_is_followed(photos: Tensor) -> None:
    mix = Shuffle(ops={"dim": ColourShift(gain=0.5), "lift": ColourShift(offset=51.0)})
    params = mix.draw(2, keyed_generator(0)) | {"order": torch.tensor([[0, 1], [1, 0]])}
    expected = torch.stack([photos[0] * 0.5 + 0.2, (photos[1] + 0.2).clamp(0, 1) * 0.5])
    torch.testing.assert_close(mix.apply(photos[:2], params), expected)
    torch.testing.assert_close(mix.apply_canvas(photos[:2], mix.checked(params, 2)), expected)


def test_a_choice_has_its_weights_and_is_followed(photos: Tensor) -> None:
    choice = Choice(ops={"dim": ColourShift(gain=0.5), "none": Identity()}, weights={"dim": 3, "none": 1})
    params = choice.draw(20_000, keyed_generator(0))
    assert (params["choice"] == 0).double().mean().item() == pytest.approx(0.75, abs=0.015)
    six = {name: values[:6] for name, values in params.items()} | {"choice": torch.tensor([0, 1, 1, 0, 0, 1])}
    expected = photos * torch.tensor([0.5, 1, 1, 0.5, 0.5, 1]).reshape(6, 1, 1, 1)
    torch.testing.assert_close(choice.apply(photos, six), expected)
    torch.testing.assert_close(choice.apply_canvas(photos, choice.checked(six, 6)), expected)


def test_every_sample_has_its_own_draw_whatever_the_batch(photos: Tensor) -> None:
    pipeline = varied(target=True)
    keys = [(7, 2, index) for index in range(6)]
    low, target = pipeline.pair(photos, pipeline.draw_keyed(keys))
    assert len({tuple(row) for row in pipeline.draw_keyed(keys)["mixed.order"].tolist()}) > 1
    for index in (0, 3, 5):
        alone, own = pipeline.pair(photos[index : index + 1], pipeline.draw_keyed([keys[index]]))
        assert torch.equal(alone, low[index : index + 1])
        assert torch.equal(own, target[index : index + 1])
    assert not torch.equal(low, pipeline.apply(photos, pipeline.draw_keyed([(7, 3, index) for index in range(6)])))


def test_canvas_equals_arrays_through_a_whole_pipeline(photos: Tensor) -> None:
    pipeline = varied(target=True)
    for epoch in range(4):
        params = pipeline.draw_keyed([(0, epoch, index) for index in range(6)])
        by_array = pipeline.apply(photos, params)
        difference = (pipeline.apply_canvas(photos, pipeline.checked(params, 6)) - by_array).abs() * 255
        assert difference.mean() < 0.2
        assert (difference > 1.01).float().mean() < 0.02


def test_large_and_small_samples_go_apart_where_that_saves_room(photos: Tensor, monkeypatch) -> None:
    ops = {
        "resize": RandomResize(factor=[0.3, 1.4], modes={"bilinear": 1}),
        "blur": Blur(kinds={"isotropic": 1, "sinc": 1}, probability=0.6),
        "noise": GaussianNoise(sigma=[1, 20]),
        "back": ResizeTo(scale=4, modes={"area": 1}),
    }
    pipeline = Pipeline(ops=ops)
    params = pipeline.checked(pipeline.draw_keyed([(0, 0, index) for index in range(6)]), 6)
    expected = pipeline.apply_canvas(photos, params)
    splits = []
    by_size = Canvas.by_size

    def spy(canvas: Canvas) -> list:
        splits.append(len(by_size(canvas)))
        return by_size(canvas)

    monkeypatch.setattr(Canvas, "by_size", spy)
    pipeline.apply_canvas(photos, params)
    assert not any(splits), "six small images are not worth it"
    monkeypatch.setattr(canvases, "_WORTH_A_SPLIT", 1)
    torch.testing.assert_close(pipeline.apply_canvas(photos, params), expected, rtol=0, atol=2e-6)
    assert splits.count(2) == 5, "until each of the six sizes is alone"


@pytest.mark.parametrize("target", [False, True])
def test_half_precision_of_the_training_stops_at_the_degradation(photos: Tensor, target: bool) -> None:
    pipeline = varied(target=target)
    params = pipeline.draw_keyed([(0, 0, index) for index in range(6)])
    asked = photos.clone().requires_grad_()  # on a canvas, as on a GPU
    expected = [part.detach() for part in pipeline.pair(asked, params)]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = pipeline.pair(asked, params)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    for one, two in zip(found, expected, strict=True):
        assert torch.equal(one, two)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_equals_cpu_without_waiting(photos: Tensor) -> None:
    pipeline = varied(target=True)
    params = pipeline.draw_keyed([(0, 0, index) for index in range(6)])
    expected = pipeline.apply(photos, params)
    on_device = photos.cuda()
    pipeline.apply(on_device, params)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        low = pipeline.apply(on_device, params)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    difference = (low.cpu() - expected).abs() * 255
    assert difference.mean() < 0.2
    assert (difference > 1.01).float().mean() < 0.02


def test_records_give_the_parameters_back_exactly(photos: Tensor, tmp_path) -> None:
    pipeline = varied(target=True)
    params = pipeline.draw_keyed([(0, 0, index) for index in range(6)])
    records = record(params)
    assert len(records) == 6
    assert isinstance(records[0]["mixed.order"], list)
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "manifest.parquet")
    for stored in (json.loads(json.dumps(records)), pq.read_table(tmp_path / "manifest.parquet").to_pylist()):
        again = params_from_records(stored)
        assert again.keys() == params.keys()
        for name, values in params.items():
            assert values.dtype == again[name].dtype
            assert torch.equal(values, again[name]), name
        for one, two in zip(pipeline.pair(photos, params), pipeline.pair(photos, again), strict=True):
            assert torch.equal(one, two)
    third = params_from_records(records[2:3])
    assert torch.equal(pipeline.apply(photos[2:3], third), pipeline.apply(photos, params)[2:3])


def test_bad_records_are_refused() -> None:
    with pytest.raises(ValueError, match="records 0 and 1 differ in b"):
        params_from_records([{"a": 1}, {"a": 1, "b": 2}])
    with pytest.raises(ValueError, match="parameter a holds"):
        params_from_records([{"a": 1}, {"a": 1.5}])
    with pytest.raises(ValueError, match=r"parameter a is torch\.float32"):
        record({"a": torch.zeros(2)})
    assert params_from_records([]) == {}
    assert record({}) == []


def test_the_target_is_what_the_low_image_is_made_from(photos: Tensor) -> None:
    ops = {"resize": Bicubic(scale=2)}
    pipeline = Pipeline(ops=ops, target=Sharpen())
    low, target = pipeline.pair(photos, pipeline.draw(6, keyed_generator(0)))
    torch.testing.assert_close(target, Sharpen().apply(photos, {}))
    torch.testing.assert_close(low, Bicubic(scale=2).apply(target, {}))
    assert torch.equal(low, pipeline.apply(photos, {}))
    plain = Pipeline(ops=ops)
    assert plain.pair(photos, {})[1] is photos


def test_nothing_changes_its_input(photos: Tensor) -> None:
    before = photos.clone()
    for image in (photos, photos[:, :1].contiguous()):
        kept = image.clone()
        ops = {"noise": GaussianNoise(sigma=20), "photons": PoissonNoise(strength=1), "jpeg": Jpeg(quality=50)}
        Pipeline(ops=ops).pair(image, Pipeline(ops=ops).draw(6, keyed_generator(0)))
        assert torch.equal(image, kept)
    pipeline = varied(target=True)
    pipeline.pair(photos, pipeline.draw(6, keyed_generator(0)))
    assert torch.equal(photos, before)


def test_a_gradient_goes_through(photos: Tensor) -> None:
    image = photos[:2].clone().requires_grad_()
    pipeline = varied()
    pipeline.apply(image, pipeline.draw(2, keyed_generator(0))).mean().backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()
    assert image.grad.abs().sum() > 0


RESIZE = RandomResize(factor=[0.1, 1], modes={"area": 1})
BACK = ResizeTo(scale=4, modes={"area": 1})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Pipeline(ops={"resize": RESIZE}), "the size of the low image varies.*put a ResizeTo"),
        (lambda: Pipeline(ops={"stride": Stride(scale=2, probability=0.5)}), "the size of the low image varies"),
        (
            lambda: Pipeline(ops={"mix": Shuffle(ops={"resize": RESIZE, "back": BACK})}),
            "the size of the low image varies",
        ),
        (
            lambda: Pipeline(ops={"a": RESIZE, "b": RESIZE, "back": BACK}),
            r"ops.b could shrink a side of 32 pixels to 0.32",
        ),
        (
            lambda: Pipeline(ops={"in": Chain(ops={"a": RESIZE, "b": RESIZE}), "back": BACK}),
            "^ops.in.ops.b could shrink",
        ),
        (lambda: Pipeline(ops={"back": BACK}, smallest_high=3), "ops.back could shrink a side of 3 pixels to 0.75"),
        (lambda: Pipeline(ops={"on": BACK}), "'on' is that of a parameter"),
        (lambda: Pipeline(ops={"back": BACK, "x": 3}), "ops.x is a int"),
        (lambda: Pipeline(ops={"target": BACK}, target=Sharpen()), "the name 'target' is kept"),
        (lambda: Pipeline(ops={"back": BACK}, target=BACK), "target: must keep the size"),
        (lambda: Shuffle(ops={"back": BACK}, before={"back": "blur"}), "before names 'blur'"),
        (lambda: Choice(ops={"a": BACK, "b": BACK}, weights={"a": 1}), "weights has none for 'b'"),
    ],
)
def test_what_cannot_work_is_refused_when_built(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_scales_are_found_through_shuffles_and_choices() -> None:
    shuffled = Shuffle(ops={"resize": RESIZE, "back": BACK}, before={"resize": "back"})
    assert Pipeline(ops={"mix": shuffled}).scale == 4
    assert Pipeline(ops={"pick": Choice(ops={"one": BACK, "two": Stride(scale=4)})}).scale == 4
    with pytest.raises(ValueError, match="varies"):
        Pipeline(ops={"pick": Choice(ops={"one": BACK, "two": Stride(scale=2)})})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mixed.order": torch.zeros(6, 4, dtype=torch.int64)}, "mixed.order must be a permutation"),
        ({"mixed.order": torch.zeros(6, 3, dtype=torch.int64)}, "mixed.order must hold 4 numbers"),
        ({"mixed.noise.choice": torch.full((6,), 2)}, "mixed.noise.choice must lie in 0..1"),
        ({"mixed.resize.factor": torch.full((6,), -1.0).double()}, "mixed.resize.factor=-1"),
        ({"mixed.noise.gauss.sigma": torch.full((5,), 1.0).double()}, "mixed.noise.gauss.sigma is of 5 samples"),
    ],
)
def test_parameters_out_of_range_are_refused_when_applied(photos: Tensor, changed, message: str) -> None:
    pipeline = varied()
    with pytest.raises(ValueError, match=message):
        pipeline.apply(photos, pipeline.draw(6, keyed_generator(0)) | changed)
    with pytest.raises(ValueError, match=r"parameter blur\.on is missing"):
        pipeline.apply(photos, {})
