"""The trial's side of pruning: reports to the shared storage, and asks the pruner there."""

import optuna
from optuna.pruners import BasePruner

from sr_lab.sweeps.storage import open_storage


class Judge:
    """Records how a trial does and says whether it should end; the other trials are read from the storage.

    Args:
        storage: Database of the sweep.
        study: Name of the sweep.
        trial: Id of the trial in that database.
        pruner: Optuna's pruner, which compares the trial with the others.
    """

    def __init__(self, *, storage: str, study: str, trial: int, pruner: BasePruner) -> None:
        self.trial, self.pruner = trial, pruner
        self.storage = open_storage(storage)
        self.study = optuna.load_study(study_name=study, storage=self.storage, pruner=pruner)

    def __call__(self, value: float, step: int) -> bool:
        """Reports the value after ``step`` validations; whether the trial should end.

        A trial that was taken over by another worker meanwhile should end too.
        """
        try:
            self.storage.set_trial_intermediate_value(self.trial, step, value)
        except optuna.exceptions.UpdateFinishedTrialError:
            return True
        return self.pruner.prune(self.study, self.storage.get_trial(self.trial))
