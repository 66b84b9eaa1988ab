"""A run reports after its validations and ends where the judge says so."""

import optuna
import pytest

from sr_lab.sweeps.judge import Judge
from sr_lab.sweeps.storage import create_storage, open_storage
from sr_lab.training.cost import NetworkCost, network_cost
from sr_lab.training.early_end import EarlyEnd


def fit(make_module, make_trainer, data, *callbacks):
    trainer = make_trainer(8, callbacks=list(callbacks), val_check_interval=2, check_val_every_n_epoch=None)
    trainer.fit(make_module(), data)
    return trainer


def test_reports_every_validation_and_ends_at_the_one_that_is_judged(make_module, make_trainer, data):
    reported = []

    def judge(value: float, step: int) -> bool:
        reported.append((step, value))
        return step == 2

    pruning = EarlyEnd(monitor="val/psnr_rgb", judge=judge)
    trainer = fit(make_module, make_trainer, data, pruning)
    assert [step for step, _ in reported] == [1, 2]
    assert (trainer.global_step, pruning.ended_at) == (4, 4)


def test_an_unknown_key_is_an_error(make_module, make_trainer, data):
    with pytest.raises(ValueError, match="val/other was not logged"):
        fit(make_module, make_trainer, data, EarlyEnd(monitor="val/other", judge=lambda value, step: False))


@pytest.mark.parametrize(
    "pruner",
    [
        optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1),
        optuna.pruners.HyperbandPruner(min_resource=1, max_resource=4, reduction_factor=2, bootstrap_count=0),
    ],
    ids=["median", "hyperband"],
)
def test_the_judge_ends_the_worse_ones_by_what_the_storage_holds(tmp_path, pruner):
    uri = f"sqlite:///{tmp_path / 'study.db'}"
    create_storage(uri)
    study = optuna.create_study(study_name="s", storage=open_storage(uri), direction="maximize", pruner=pruner)
    lengths = {}
    for quality in (30, 31, 32, 20, 33, 10, 34, 5):
        trial = study.ask()
        judge = Judge(storage=uri, study="s", trial=trial._trial_id, pruner=pruner)
        for step in range(1, 5):
            lengths[quality] = step
            if judge(float(quality + step), step):
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, float(quality + 4))
    assert lengths[34] == 4, "the best so far goes on"
    assert lengths[5] < 4, "the worst of all ends early"
    finished = study.ask()
    study.tell(finished, 1.0)
    assert Judge(storage=uri, study="s", trial=finished._trial_id, pruner=pruner)(1.0, 1), "it was taken over"


def test_cost_is_logged_with_the_validation(make_module, make_trainer, data):
    trainer = fit(make_module, make_trainer, data, NetworkCost(side=8, repeats=2))
    network = make_module().network
    cost = network_cost(network, side=8, repeats=1, device="cpu")
    assert trainer.callback_metrics["val/parameters"] == sum(p.numel() for p in network.parameters())
    assert trainer.callback_metrics["val/gigaops"] == pytest.approx(cost["gigaops"])
    assert trainer.callback_metrics["val/latency_ms"] > 0


def test_operations_are_two_a_weight_and_pixel():
    from sr_lab.networks.srcnn import SRCNN

    network = SRCNN(scale=2, num_channels=1)
    weights = sum(p.numel() for name, p in network.named_parameters() if name.endswith("weight"))
    cost = network_cost(network, side=16, repeats=1, device="cpu")
    assert cost["gigaops"] == pytest.approx(2 * weights * 32 * 32 / 1e9, rel=0.2)
