"""The service's half of a rollout: sides that stick, what a pair shows, and that nothing of it fails a request."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sr_lab.monitoring.proxies import badness, proxy_gains
from sr_lab.serving.rollout import Answer, Rollouts
from sr_lab.tracking.registry.rollouts import Rollout
from sr_lab.workflows.pairs import PairStore

PLAN = Rollout(
    id="abc", name="m", base=1, candidate=2, stage="canary", share=0.25, sample=0.5,
    margins={"lr_consistency": 0.5, "errors": 0.02}, paused=False, since=0, policy="p", number=3,
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path):
    found = PairStore(tmp_path / "pairs.db")
    yield found
    found.close()


def rollouts(store, plan=PLAN, **more):
    found = Rollouts(store, lambda: plan, time=lambda: 100.0, **more)
    found.refresh()
    return found


def pictures(seed=0, size=48):
    random = np.random.default_rng(seed)
    low = random.integers(60, 190, (size, size, 3), dtype=np.uint8)
    low = (low // 4 + np.linspace(40, 120, size)[:, None, None]).astype(np.uint8)
    return low, low.repeat(2, axis=0).repeat(2, axis=1)


def test_a_client_stays_on_its_side_and_a_larger_share_only_adds_to_it(store):
    sides = {}
    for share in (0.0, 0.05, 0.25, 1.0):
        router = rollouts(store, replace(PLAN, share=share))
        sides[share] = {n for n in range(2000) if router.route(client=f"c{n}", request="r").serve == "candidate"}
        assert len(sides[share]) / 2000 == pytest.approx(share, abs=0.03)
    assert sides[0.0] <= sides[0.05] <= sides[0.25] <= sides[1.0]
    other = rollouts(store, replace(PLAN, id="def"))
    assert {n for n in range(2000) if other.route(client=f"c{n}", request="r").serve == "candidate"} != sides[0.25]


def test_who_answers_and_who_answers_too(store):
    router = rollouts(store, replace(PLAN, sample=1.0))
    routes = [router.route(client=f"c{n}", request=f"r{n}") for n in range(50)]
    assert {(r.serve, r.version, r.other, r.fallback) for r in routes} == {
        ("champion", 1, 2, None), ("candidate", 2, 1, 1),
    }  # fmt: skip
    assert all(router.route(client="c", request=f"r{n}", spare=False).other is None for n in range(20))
    sampled = rollouts(store)
    both = [sampled.route(client="c", request=f"r{n}").other is not None for n in range(2000)]
    assert np.mean(both) == pytest.approx(0.5, abs=0.05)


def test_without_a_rollout_or_after_it_the_champion_answers(store):
    for plan in (None, replace(PLAN, stage="aborted"), replace(PLAN, stage="finished")):
        router = rollouts(store, plan)
        route = router.route(client="c", request="r")
        assert (route.serve, route.version, route.other) == ("champion", None, None)
        assert router.observe(route, low=pictures()[0], champion=None, candidate=Answer()) == {}


def test_a_registry_that_is_away_leaves_the_last_plan(store):
    plans = iter([PLAN])
    router = Rollouts(store, lambda: next(plans))
    assert router.refresh() == PLAN
    assert router.refresh() == PLAN


def test_a_pair_is_written_without_pixels_and_without_the_client(store):
    router = rollouts(store)
    low, high = pictures()
    route = router.route(client="10.0.0.1", request="r")
    gains = router.observe(
        route, low=low, champion=Answer(image=high, seconds=1.0), candidate=Answer(image=high, seconds=2.0)
    )
    (pair,) = store.read("abc")
    assert pair.gains == pytest.approx(gains)
    assert gains == pytest.approx({
        "errors": 0, "lr_consistency": 0, "unseen_detail": 0, "disagreement": 0, "naturalness": 0,
        "tone": 0, "latency_small": -np.log(2),
    })  # fmt: skip
    assert (pair.time, pair.stage, pair.served, pair.picture) == (100.0, "canary", route.serve, None)
    assert b"10.0.0.1" not in store.path.read_bytes()
    assert hashlib.sha256(b"10.0.0.1").hexdigest()[:16] != pair.client
    assert not store.pictures.exists()
    assert list(store.read("other")) == []


def test_failures_are_gains_and_successes_alone_count_too(store):
    router = rollouts(store)
    low, high = pictures()
    route = router.route(client="c", request="r")
    fine, failed = Answer(image=high), Answer()

    def shown(champion, candidate):
        return router.observe(route, low=low, champion=champion, candidate=candidate)

    assert shown(fine, failed) == {"errors": -1.0}
    assert shown(failed, fine) == {"errors": 1.0}
    assert shown(failed, failed) == {"errors": 0.0}
    assert shown(None, fine) == {"errors": 0.0}
    assert shown(fine, Answer(image=high[:-2])) == {"errors": -1.0}, "an image of the wrong size is a failure"
    assert shown(fine, None) == {}
    assert len(list(store.read("abc"))) == 5


def test_nothing_of_it_fails_a_request(store, caplog):
    router = rollouts(store)
    route = router.route(client="c", request="r")
    high = np.zeros((7, 9, 3), np.uint8)
    assert router.observe(route, low=high, champion=Answer(image=high[:3]), candidate=Answer(image=high[:3])) == {}
    assert router.num_failures == 1
    store.close()
    assert router.observe(route, low=high, champion=None, candidate=Answer()) == {}
    assert router.num_failures == 2


def test_the_worst_pictures_are_kept_where_that_is_asked_for(store):
    router = rollouts(store, keep_pictures=2)
    low, high = pictures()
    for number, shift in enumerate((0, 30, 10, 40, 5)):
        route = router.route(client="c", request=f"r{number}")
        shifted = np.clip(high.astype(int) + shift, 0, 255).astype(np.uint8)
        router.observe(route, low=low, champion=Answer(image=high), candidate=Answer(image=shifted))
    kept = [pair.number for pair in store.read("abc") if pair.picture]
    files = sorted(file.name for file in store.pictures.iterdir())
    assert kept == [2, 3, 4], "as many as were among the worst when they came"
    assert len(files) == 2 * 3
    named = {pair.picture for pair in store.read("abc") if pair.number in (2, 4)}
    assert {name.rpartition("-")[0] for name in files} == named


def test_the_proxies_notice_what_they_are_for():
    low, high = pictures(size=64)
    random = np.random.default_rng(0)
    colour = np.clip(high.astype(int) + np.array([12, 0, -12]), 0, 255).astype(np.uint8)
    texture = np.clip(high + random.normal(0, 8, high.shape), 0, 255).astype(np.uint8)
    shifted, invented = (proxy_gains(low, high, image) for image in (colour, texture))
    assert shifted["lr_consistency"] < -3
    assert abs(shifted["unseen_detail"]) < 1e-3
    assert invented["unseen_detail"] < -0.003
    assert invented["disagreement"] < -0.02
    assert shifted["tone"] < -0.03
    assert abs(invented["tone"]) < 0.005, "noise hardly moves a mean"
    deep = [image.astype(np.uint16) * 257 for image in (low, high, texture)]
    assert proxy_gains(*deep) == pytest.approx(invented, abs=1e-3)
    grey = proxy_gains(low[..., :1], high[..., :1], texture[..., :1])
    assert grey["disagreement"] < -0.02
    assert set(proxy_gains(low[:10, :10], high[:20, :20], texture[:20, :20])) == {
        "lr_consistency", "unseen_detail", "disagreement", "tone",
    }  # fmt: skip
    with pytest.raises(ValueError, match="no pair"):
        proxy_gains(low, high, texture[:-1])


def test_how_bad_a_pair_is():
    assert badness({"a": -1.0, "b": 0.2, "c": -9.0}, {"a": 0.5, "b": 0.1}) == 2.0
    assert badness({}, {"a": 1.0}) == 0
