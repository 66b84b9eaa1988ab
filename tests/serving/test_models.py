"""What is loaded, swapped and taken back, the runner's failures, the guard and the routes, and a candidate's pairs."""

import threading
import time

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from serving.conftest import Fixed, decoded, encoded, make, picture, restorer
from starlette.testclient import TestClient

from sr_lab.base.threads import whole_threads
from sr_lab.config.compose import build
from sr_lab.config.tree import config_dir
from sr_lab.images import resize_bicubic, to_levels, to_tensor
from sr_lab.inference.restorers import BicubicRestorer
from sr_lab.inference.tiles import plan_tiles
from sr_lab.metrics.consistency import LRConsistency
from sr_lab.serving.admission import Offer
from sr_lab.serving.app import make_app
from sr_lab.serving.consistency import check
from sr_lab.serving.guard import Guard, disagreement
from sr_lab.serving.hooks import Choice
from sr_lab.serving.models import Served
from sr_lab.serving.pictures import Facts
from sr_lab.serving.routes import Asked, Rule, Rules, content_of, noise_of
from sr_lab.serving.runner import ComputeError, Runner
from sr_lab.serving.scheduler import Work
from sr_lab.serving.shelf import Shelf


def test_versions_change_under_load_and_no_request_is_mixed_or_lost(served):
    image = picture(60, 60)
    wanted = {
        version: to_levels(restorer(int(version))(to_tensor(image)).detach(), np.uint8) for version in ("1", "2", "3")
    }
    stop, answers = threading.Event(), []

    def ask():
        while not stop.is_set():
            answers.append(served.client.post("/v1/restore", content=encoded(image)))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for version in ("2", "3", "2"):
            served.source.now = version
            assert served.service.shelf.follow()
            count = len(answers)
            while len(answers) < count + 2 and thread.is_alive():
                time.sleep(0.005)
    finally:
        stop.set()
        thread.join()
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-model-version"] for answer in answers} >= {"2", "3"}
    for answer in answers:
        np.testing.assert_array_equal(decoded(answer.content), wanted[answer.headers["x-model-version"]])
    assert served.source.loads == ["1", "2", "3"]  # the way back loaded nothing


def test_a_registry_that_is_away_and_a_version_that_is_broken_change_nothing(served):
    shelf, source = served.service.shelf, served.source
    source.away = True
    assert not shelf.follow()
    assert not served.client.get("/readyz").json()["registry_up"]
    assert served.client.post("/v1/restore", content=encoded(picture())).status_code == 200
    assert "srlab_registry_up 0.0" in served.client.get("/metrics").text
    source.away, source.now = False, "none"
    assert not shelf.follow()  # restorer(int("none"))
    assert shelf.registry_up
    assert "cannot be loaded" in served.client.get("/v1/models").json()["models"][0]["failure"]
    assert 'srlab_registry_mismatch{model="photos"} 1.0' in served.client.get("/metrics").text
    assert served.client.post("/v1/restore", content=encoded(picture())).headers["x-model-version"] == "1"


def test_memory_unloads_the_former_version_and_then_what_was_not_used_longest():
    sources = [Fixed(name) for name in ("main", "a", "b")]
    size = sources[0].load("1").num_bytes
    assert size > 0
    shelf = Shelf(sources, lazy=["a", "b"], memory_bytes=2 * size)
    shelf.load()
    loaded = lambda: [state.name for state in shelf.states if state.current is not None]  # noqa: E731
    assert loaded() == ["main"]
    shelf.get("a")
    shelf.get("b")
    assert loaded() == ["main", "b"]
    sources[0].now = "2"
    shelf.follow()
    assert shelf.states[0].former is None
    with pytest.raises(ValueError, match="no former"):
        shelf.swap_back("main")
    with pytest.raises(KeyError):
        shelf.get("c")


class Fragile:
    """An engine that fails on dark images."""

    label, scale = "fragile/1", 2

    def __init__(self) -> None:
        self.batches: list[int] = []

    def compute(self, windows, *, alpha=False):
        self.batches.append(len(windows))
        if any(window.max() == 0 for window in windows):
            raise MemoryError("planted")
        low = torch.from_numpy(np.stack(windows)).permute(0, 3, 1, 2) / 255
        return low.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_a_tile_that_fails_fails_its_request_alone():
    runner, engine = Runner(batch_size=4), Fragile()
    plan = Served(name="a", version="1", restorer=BicubicRestorer(scale=2)).plan(8, 8)
    futures = []
    for number, level in enumerate((9, 0, 7)):
        group = runner.group(engine, plan, 3, "uint8")
        work = Work(id=str(number), group=group, num_tiles=1)
        runner.offer([(Offer(tier="best", work=work), engine, plan)])
        futures.append(runner.submit(str(number), np.full((8, 8, 3), level, np.uint8)))
    runner.insert(Work(id="x", group=group, num_tiles=1), engine, plan)
    with pytest.raises(ValueError, match="header said otherwise"):
        runner.submit("x", np.zeros((9, 8, 3), np.uint8))
    runner.cancel("x")
    runner.start()
    assert futures[0].result(30).image.mean() == 9
    assert futures[2].result(30).image.shape == (16, 16, 3)
    with pytest.raises(ComputeError, match="MemoryError: planted"):
        futures[1].result(30)
    assert engine.batches == [3, 1, 1, 1]
    runner.close(timeout=30)
    assert not runner.alive
    with pytest.raises(RuntimeError, match="closing"):
        runner.offer([])


def test_a_client_that_leaves_has_its_tiles_dropped():
    runner, engine = Runner(), Fragile()
    plan = Served(name="a", version="1", restorer=BicubicRestorer(scale=2), tile=16).plan(64, 64)
    group = runner.group(engine, plan, 3, "uint8")
    runner.insert(Work(id="gone", group=group, num_tiles=len(plan.tiles)), engine, plan)
    future = runner.submit("gone", np.full((64, 64, 3), 9, np.uint8))
    runner.cancel("gone")
    runner.start()
    runner.close(timeout=30)
    assert future.cancelled()
    assert engine.batches == []


def test_consistency_is_that_of_the_metric_and_energy_finds_what_was_invented():
    low = picture(48, 40)
    high = to_levels(resize_bicubic(to_tensor(low), scale=2), np.uint8)
    exact = float(LRConsistency(scale=2).per_image(to_tensor(high), to_tensor(high)))
    assert exact == 60.0
    found = check(low, high)
    again = resize_bicubic(to_tensor(high), scale=0.5).mul(255).clamp(0, 255).add(0.5).floor() / 255
    wanted = -10 * float(torch.log10((again - to_tensor(low)).square().mean()))
    assert abs(found.decibels - wanted) < 0.1
    noise = np.indices(high.shape[:2]).sum(0)[..., None] % 2 * 60
    invented = check(low, np.clip(high.astype(int) + noise - 30, 0, 255).astype(np.uint8))
    assert found.energy < 0.05 < 0.3 < invented.energy
    assert invented.decibels > 25  # a pattern that leaves no trace in the input is not found by consistency
    tall = check(picture(700, 9), to_levels(resize_bicubic(to_tensor(picture(700, 9)), scale=3), np.uint8))
    assert tall.decibels > 30
    assert check(low, high, num_windows=4) == found  # all of a small image is looked at
    half = check(low, high, energy=False)
    assert half.decibels == found.decibels
    assert np.isnan(half.energy)


@pytest.mark.parametrize("own", [True, False])
def test_torch_has_one_thread_beside_an_engine_with_threads_of_its_own(own):
    seen, before = [], torch.get_num_threads()

    class Seeing:
        label, scale, own_threads = "seeing/1", 1, own

        def compute(self, windows, *, alpha=False):
            seen.append((torch.get_num_threads(), whole_threads()))
            return torch.zeros(len(windows), 3, *windows[0].shape[:2])

    runner, plan = Runner(), plan_tiles(8, 8, tile=8, halo=0)
    runner.start()
    torch.set_num_threads(2)
    try:
        runner.insert(Work(id="a", group="g", num_tiles=1), Seeing(), plan)
        runner.submit("a", picture(8, 8)).result(60)
    finally:
        runner.close()
        torch.set_num_threads(before)
    assert seen == [(1 if own else 2, 2)]


def test_the_guard_replaces_an_image_by_the_conservative_one():
    bad = lambda version: BrightRestorer(scale=2)  # noqa: E731
    careful = Fixed("careful", made=lambda _: BicubicRestorer(scale=2))
    for guard in (Guard(), Guard(decibels=None, energy=None, levels=20.0)):
        parts, source = make(sources=[careful], guard=guard, conservative="careful")
        source.made, source.now = bad, "2"
        parts.service.shelf.follow()
        image = picture()
        with TestClient(make_app(parts)) as client:
            answer = client.post("/v1/restore", content=encoded(image))
            assert answer.headers["x-model"] == "careful"
            assert answer.headers["x-guard"].startswith("replaced; ")
            wanted = to_levels(resize_bicubic(to_tensor(image), scale=2), np.uint8)
            np.testing.assert_array_equal(decoded(answer.content), wanted)
            assert "srlab_guard_replaced_total" in client.get("/metrics").text


class DrawingRestorer(BicubicRestorer):
    """Draws its images."""

    generative = True


def test_strict_medical_takes_no_model_that_draws_and_every_answer_carries_the_cards_warning():
    guard = build(OmegaConf.load(config_dir() / "guard" / "strict_medical.yaml"))
    careful = Fixed("careful", made=lambda _: BicubicRestorer(scale=2))
    parts, source = make(sources=[careful], guard=guard, conservative="careful")
    parts.service.shelf.warm = parts.service.warm  # as the server has it
    source.made, source.now = lambda version: DrawingRestorer(scale=2), "2"
    parts.service.shelf.follow()
    with TestClient(make_app(parts)) as client:
        assert "draws its images, and the guard allows no generative model" in client.get("/v1/models").text
        for body in (picture(), picture(seed=1)):
            answer = client.post("/v1/restore", content=encoded(body))
            assert (answer.status_code, answer.headers["x-warning"]) == (200, "Invented detail.")
            assert answer.headers["x-model-version"] == "1", "the version before goes on"


class BrightRestorer(BicubicRestorer):
    """Adds 60 levels."""

    def __call__(self, low):
        return super().__call__(low) + 60 / 255

    piece = __call__


def test_disagreement_is_that_of_the_worst_place():
    image = np.zeros((100, 100, 3), np.uint8)
    other = image.copy()
    other[10:60, 10:60] = 80
    assert abs(disagreement(other, image) - 80) < 1e-3


def test_routes_choose_by_size_content_noise_deadline_and_plan():
    text = np.full((64, 64, 1), 255, np.uint8)
    text[8:56:8, 4:60:3] = 0
    text[9:57:8, 4:60:3] = 0
    assert content_of(text) == "text"
    assert content_of(np.full((40, 40, 3), 90, np.uint8)) == "flat"
    rough = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert content_of(rough) == "photo"
    assert noise_of(rough) > 20 > 1 > noise_of(np.full((40, 40, 3), 90, np.uint8))
    rules = Rules(
        rules={
            "text": Rule(model="letters", content="text"),
            "rough": Rule(model="denoiser", noisy=True),
            "hurry": Rule(model="fast", least_pixels=100, most_pixels=10_000, most_deadline=2.0, plans=["free"]),
        }
    )
    assert rules.needs_pixels
    facts = Facts(64, 64, 3, False)
    assert rules.choose(Asked(facts=facts, low=text)) == "letters"
    assert rules.choose(Asked(facts=facts, low=rough)) == "denoiser"
    flat = np.full((64, 64, 3), 90, np.uint8)
    assert rules.choose(Asked(facts=facts, low=flat, deadline=1.0, plan="free")) == "fast"
    for asked in (Asked(facts=facts, low=flat, deadline=3.0, plan="free"), Asked(facts=facts, low=flat, deadline=1.0)):
        assert rules.choose(asked) is None


class Router:
    candidate = 2

    def __init__(self) -> None:
        self.choices, self.pairs = [], []

    def choose(self, request_id, key):
        return self.choices.pop(0)

    def observe(self, pair):
        self.pairs.append(pair)


def test_a_candidate_answers_some_and_shadows_others_and_its_failure_is_nobodys():
    router = Router()
    parts, source = make(traffic=router)
    parts.service.shelf.follow()
    image = picture()
    router.choices = [
        Choice(), Choice(shadow=True, token="a"), Choice(answers="candidate", token="b"),
        Choice(answers="candidate", shadow=True, token="c"),
    ]  # fmt: skip
    with TestClient(make_app(parts)) as client:
        ask = lambda: client.post("/v1/restore", content=encoded(image)).headers["x-model-version"]  # noqa: E731
        assert [ask() for _ in range(4)] == ["1", "1", "2", "2"]
        source.made = lambda version: FailingRestorer(scale=2)
        router.candidate = 3
        parts.service.shelf.warm = None
        parts.service.shelf.follow()
        router.choices = [Choice(answers="candidate", token="d")]
        assert ask() == "1"
        for _ in range(500):
            if len(router.pairs) == 4:
                break
            time.sleep(0.01)
    by_token = {pair.token: pair for pair in router.pairs}
    assert set(by_token) == set("abcd")
    both = by_token["a"]
    for pixels, version in ((both.champion, 1), (both.candidate, 2)):
        np.testing.assert_array_equal(pixels, to_levels(restorer(version)(to_tensor(image)).detach(), np.uint8))
    assert not by_token["b"].both
    assert by_token["c"].answered == "candidate"
    np.testing.assert_array_equal(by_token["c"].champion, both.champion)
    assert by_token["d"].candidate is None
    np.testing.assert_array_equal(by_token["d"].champion, both.champion)


class FailingRestorer(BicubicRestorer):
    def __call__(self, low):
        raise RuntimeError("planted")

    piece = __call__
