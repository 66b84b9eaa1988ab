"""What computing costs, and the refusal when the day's budget is spent."""

import pytest
from serving.conftest import encoded, make, picture
from starlette.testclient import TestClient

from sr_lab.serving import measures
from sr_lab.serving.app import make_app
from sr_lab.serving.cost import DAY, Costs, CostSettings


class Clock:
    now = 20_000 * DAY + 3600.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def settings(**more) -> CostSettings:
    return CostSettings(per_hour={"cpu": 3600.0 / measures.num_processors(), "h200": 7200.0}, **more)


def sums(costs: Costs) -> dict[str, float]:
    return {sample.labels["use"]: sample.value for sample in next(costs.collect()).samples}


def test_busy_spare_and_idle_are_counted_apart(clock):
    costs = Costs(settings(), time=clock)  # 1 EUR a second
    clock.now += 10
    costs.add(0, 3.0)
    costs.add(1, 1.0)
    costs.add(2, 2.0)
    assert sums(costs) == pytest.approx({"request": 3, "job": 1, "spare": 2, "idle": 4})
    assert costs.spent == pytest.approx(6)
    assert Costs(settings(), gpu="NVIDIA H200", time=clock).rate == pytest.approx(3)
    with pytest.raises(ValueError, match="no price of Tesla"):
        Costs(settings(), gpu="Tesla T4")


def test_a_day_outlives_a_restart_and_ends(clock, tmp_path):
    state = str(tmp_path / "cost.json")
    costs = Costs(settings(state=state, daily=10.0), time=clock)
    costs.add(0, 8.0)
    costs.add(0, 1.0)  # within the five seconds: kept at the end
    costs.write()
    again = Costs(settings(state=state, daily=10.0), time=clock)
    assert again.spent == pytest.approx(9)
    clock.now += DAY
    assert again.spent == 0
    assert Costs(settings(state=state, daily=10.0), time=clock).spent == 0
    (tmp_path / "cost.json").write_text("{")
    with pytest.raises(ValueError, match="move it away"):
        Costs(settings(state=state), time=clock)


@pytest.mark.parametrize(
    "wrong", [{"per_hour": {}}, {"per_hour": {"cpu": -1.0}}, {"per_hour": {"cpu": 1}, "daily": 0.0}]
)
def test_prices_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=r"cpu|daily"):
        CostSettings(**wrong)


def test_beyond_the_budget_requests_are_refused_until_the_day_ends(clock):
    costs = Costs(settings(daily=10.0), time=clock)
    parts, _ = make(costs=costs)
    with TestClient(make_app(parts), raise_server_exceptions=False) as client:

        def restore():
            return client.post("/v1/restore", content=encoded(picture()))

        assert restore().status_code == 200
        assert 0 < costs.spent < 10
        costs.add(0, 20.0)
        refused = restore()
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == str(int(DAY - 3600))
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["type"] == "urn:srlab:problem:budget"
        page = client.get("/metrics").text
        assert 'srlab_shed_total{reason="budget"} 1.0' in page
        assert "srlab_budget_spent_ratio 2." in page
        assert 'srlab_cost_total{currency="EUR",use="request"} 2' in page
        clock.now += DAY - 3600
        assert restore().status_code == 200
