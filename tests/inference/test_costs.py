import torch

from sr_lab.inference.costs import counted_work, paired_costs
from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer
from sr_lab.networks.srcnn import SRCNN


def restorer(*, num_features: tuple[int, int] = (8, 4)) -> NetworkRestorer:
    return NetworkRestorer(SRCNN(scale=2, num_channels=3, num_features=num_features), tile=64, overlap=8, device="cpu")


def test_runs_are_made_until_nobody_wants_more() -> None:
    asked: list[int] = []

    def wants_more(costs: dict[str, dict[str, list[float]]]) -> bool:
        assert len(costs["a"]["latency_s"]) == len(costs["b"]["latency_s"])
        asked.append(len(costs["a"]["latency_s"]))
        return asked[-1] < 8

    models = {"a": BicubicRestorer(scale=2), "b": BicubicRestorer(scale=2)}
    costs = paired_costs(models, torch.rand(1, 3, 8, 8), num_runs=2, least_seconds=0.0, wants_more=wants_more)
    assert asked == [2, 4, 8]
    assert len(costs["a"]["latency_s"]) == 8
    assert costs["a"].keys() == {"latency_s", "memory_bytes"}, "bicubic has no parameters to count"


def test_the_work_of_a_network_is_counted_not_measured() -> None:
    low = torch.rand(1, 3, 8, 8)
    with torch.inference_mode():
        first, again, larger = (
            counted_work(model, low) for model in (restorer(), restorer(), restorer(num_features=(16, 8)))
        )
    assert first == again
    assert first["parameters"] == [float(sum(p.numel() for p in restorer().network.parameters()))]
    assert larger["operations"][0] > 1.5 * first["operations"][0] > 0
