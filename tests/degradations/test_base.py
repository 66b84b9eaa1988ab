import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from sr_lab.degradations.base import Degradation, Params, keyed_generator
from sr_lab.degradations.identity import Identity
from sr_lab.degradations.pipeline import Pipeline
from sr_lab.degradations.resize import Bicubic


class Gain(Degradation):
    """Multiplies each sample by a number of its own."""

    def __init__(self, *, low: float = 0.5, high: float = 1.0) -> None:
        super().__init__(scale=1)
        self.low, self.high = low, high

    def draw(self, batch_size: int, generator: torch.Generator) -> Params:
        return {"gain": self.low + (self.high - self.low) * torch.rand(batch_size, generator=generator)}

    def apply(self, image: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        return image * params["gain"][:, None, None, None]


def test_keyed_generators_depend_on_every_part_of_the_key() -> None:
    keys = [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 0), (0, 0), (0, 10), (0, 1, 0, 0), (-1, 0, 0), ("0", 0, 0)]
    draws = {torch.rand(4, generator=keyed_generator(*key)).sum().item() for key in keys}
    assert len(draws) == len(keys)
    again = torch.rand(3, generator=keyed_generator(3, 1, 4))
    assert torch.equal(again, torch.rand(3, generator=keyed_generator(3, 1, 4)))


def test_keyed_generators_are_the_same_in_another_process() -> None:
    code = "from sr_lab.degradations.base import keyed_generator as k; print(k('order', 1, 2).initial_seed())"
    seeds = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": s},
        ).stdout
        for s in ("1", "2")
    }
    digest = hashlib.blake2b(b'["order", 1, 2]', digest_size=8).digest()
    assert seeds == {f"{int.from_bytes(digest, 'big') // 2}\n"}


def test_a_sample_is_drawn_the_same_whatever_its_neighbours() -> None:
    gain = Gain()
    keys = [(1, 0, index) for index in range(6)]
    together = gain.draw_keyed(keys)["gain"]
    apart = torch.cat([gain.draw_keyed([key])["gain"] for key in reversed(keys)]).flip(0)
    assert torch.equal(together, apart)
    assert len(set(together.tolist())) == 6


def test_no_draw_touches_the_global_state() -> None:
    before = torch.get_rng_state()
    Pipeline(ops={"a": Gain(), "b": Gain()}).draw_keyed([(1, 2, 3)])
    assert torch.equal(before, torch.get_rng_state())


def test_recorded_parameters_replay_the_result() -> None:
    pipeline = Pipeline(ops={"first": Gain(), "shrink": Bicubic(scale=2), "last": Gain(low=0.1)})
    image = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    params = pipeline.draw(3, keyed_generator(5))
    assert sorted(params) == ["first.gain", "last.gain"]
    result = pipeline.apply(image, params)
    stored = {name: torch.tensor(values.tolist()) for name, values in params.items()}
    assert torch.equal(result, pipeline.apply(image, stored))
    expected = Bicubic(scale=2).apply(image * params["first.gain"].view(3, 1, 1, 1), {})
    assert torch.equal(result, expected * params["last.gain"].view(3, 1, 1, 1))


def test_taking_an_operation_out_keeps_the_draws_of_the_others() -> None:
    ops = {"a": Gain(), "b": Gain(), "c": Gain()}
    whole = Pipeline(ops=ops).draw(2, keyed_generator(1))
    part = Pipeline(ops={"a": ops["a"], "c": ops["c"]}).draw(2, keyed_generator(1))
    assert torch.equal(whole["c.gain"], part["c.gain"])
    assert not torch.equal(whole["a.gain"], whole["b.gain"])


def test_scale_and_determinism_of_a_pipeline() -> None:
    pipeline = Pipeline(ops={"one": Bicubic(scale=2), "two": Bicubic(scale=3), "none": Identity()})
    assert (pipeline.scale, pipeline.deterministic) == (6, True)
    assert not Pipeline(ops={"gain": Gain(), "one": Bicubic(scale=2)}).deterministic
    assert pipeline.apply(torch.rand(1, 1, 12, 18), {}).shape == (1, 1, 2, 3)


@pytest.mark.parametrize(("ops", "message"), [({}, "needs an operation"), ({"a.b": Identity()}, r"'a\.b' holds a dot")])
def test_pipeline_refuses(ops: dict[str, Degradation], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pipeline(ops=ops)


def test_fingerprints_tell_settings_order_and_version_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = Gain(low=0.2), Bicubic(scale=2)
    different = [
        one,
        Gain(low=0.3),
        Identity(),
        two,
        Bicubic(scale=3),
        Pipeline(ops={"one": one, "two": two}),
        Pipeline(ops={"two": two, "one": one}),
        Pipeline(ops={"one": one, "other": two}),
        Pipeline(ops={"one": Gain(low=0.3), "two": two}),
    ]
    assert len({op.fingerprint() for op in different}) == len(different)
    assert Pipeline(ops={"one": Gain(low=0.2), "two": Bicubic(scale=2)}).fingerprint() == different[5].fingerprint()
    before = two.fingerprint()
    monkeypatch.setattr(Bicubic, "version", 2)
    assert two.fingerprint() != before


def test_scale_must_be_positive() -> None:
    with pytest.raises(ValueError, match="scale=0: must be at least 1"):
        Bicubic(scale=0)
