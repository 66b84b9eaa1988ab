"""A worker: takes trials from the queue until none is left, and runs each as a child process.

Whatever is killed or asked to end, nothing is lost: a trial goes on from its checkpoint in the same folder, and one
that had come to its end is only read again. Settings that another trial has had are not trained again.
"""

import json
import os
import signal
import subprocess
import time
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState

from sr_lab.base.signals import Stopped
from sr_lab.base.words import setting
from sr_lab.sweeps.plan import Plan
from sr_lab.sweeps.queue import ERROR, SAME_AS, claim, original, same, unfinished
from sr_lab.sweeps.share import Share, dies_with_parent
from sr_lab.training.run_folder import PAUSED, RunFolder

LOG, FAILURE = "train.log", "error.json"
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)  # exit codes of a run that was asked to end
_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 1.0
"""After a trial was asked to end: whoever asks its worker too has done so by then."""
_ERROR_CHARACTERS = 1500


@dataclass(kw_only=True)
class Worker:
    """Takes trials and runs them, one at a time.

    Attributes:
        plan: the sweep's.
        index: which worker; its draws differ from those of the others.
        share: what its trials may use.
    """

    plan: Plan
    index: int = 0
    share: Share = field(default_factory=Share)

    def __post_init__(self) -> None:
        self.study = self.plan.open(seed=self.plan.seed)
        self.storage: Any = self.study._storage

    def work(self) -> int:
        """Runs trials until none waits or runs; returns how many it ran."""
        count = 0
        while True:
            self._fail_stale()
            trial_id = claim(self.study)
            if trial_id is not None:
                self._run(trial_id)
                count += 1
            elif not unfinished(self.study):
                return count
            else:
                time.sleep(min(self.plan.heartbeat, 2))

    def _run(self, trial_id: int) -> None:
        """Draws the trial's values, runs it, and tells how it ended."""
        trial: optuna.Trial | None = None
        try:
            self._draw_anew(trial_id)
            trial = optuna.Trial(self.study, trial_id)
            values = {label: parameter.suggest(trial, label) for label, parameter in self.plan.space.items()}
            frozen = self.storage.get_trial(trial_id)
            if (known := self._known(frozen)) is not None:
                self._tell_as(known, frozen)
                return
            folder = self.plan.trial_folder(original(frozen))
            code = self._wait_for(frozen, folder, [*self.plan.overrides(values), *self._judge(trial_id)])
            if code in STOPPED:
                time.sleep(_PATIENCE_SECONDS)
            if code < 0 or code in (PAUSED, *STOPPED):
                self._put_back(frozen.number, trial_id, counted=code != PAUSED)
            elif code:
                self._fail(frozen.number, trial_id, _error_text(folder, code))
            elif _ended_early(folder):
                self.study.tell(frozen.number, state=TrialState.PRUNED, skip_if_finished=True)
            else:
                self.study.tell(frozen.number, self.plan.read_values(folder), skip_if_finished=True)
        except (Stopped, KeyboardInterrupt, SystemExit):
            self._put_back(self.storage.get_trial(trial_id).number, trial_id, counted=False)
            raise
        except (ValueError, OSError, RuntimeError) as error:
            frozen = self.storage.get_trial(trial_id)
            self._fail(frozen.number, trial_id, f"{type(error).__name__}: {error}")

    def _draw_anew(self, trial_id: int) -> None:
        """The sampler's draws depend on the seed, the worker and the trial, not on what it drew before."""
        number = self.storage.get_trial(trial_id).number
        seed = zlib.crc32(f"{self.plan.seed}/{self.index}/{number}".encode())
        self.study.sampler = self.plan.sampler(seed=seed)

    def _fail_stale(self) -> None:
        """Ends the trials whose workers give no sign of life."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(self.study)

    def _known(self, trial: FrozenTrial) -> FrozenTrial | None:
        """An earlier trial of the same settings that has come to its end; waits for one that runs. None without one."""
        beat = self._alive(trial._trial_id)
        while True:
            others = [other for other in self.study.get_trials(deepcopy=False) if other.number != trial.number]
            alike = [other for other in others if same(other, trial)]
            ended = (TrialState.COMPLETE, TrialState.PRUNED)
            if known := next((other for other in alike if other.state in ended), None):
                return known
            if not any(other.state == TrialState.RUNNING and other.number < trial.number for other in alike):
                return None
            time.sleep(min(self.plan.heartbeat, 2))
            beat()
            self._fail_stale()

    def _tell_as(self, known: FrozenTrial, trial: FrozenTrial) -> None:
        """Ends the trial with what is known of its settings, and records where that is from."""
        self.storage.set_trial_user_attr(trial._trial_id, SAME_AS, original(known))
        for step, value in known.intermediate_values.items():
            self.storage.set_trial_intermediate_value(trial._trial_id, step, value)
        if known.state == TrialState.PRUNED:
            self.study.tell(trial.number, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            self.study.tell(trial.number, list(known.values), skip_if_finished=True)

    def _judge(self, trial_id: int) -> list[str]:
        """The setting that lets the trial's process report to the storage and end where the pruner says so."""
        if self.plan.early_end is None or not self.plan.ends_early:
            return []
        where = {"storage": self.plan.storage, "study": self.plan.name, "trial": trial_id}
        judge = {**self.plan.early_end["judge"], **where}
        return [setting("+callbacks.early_end", {**self.plan.early_end, "judge": judge})]

    def _wait_for(self, trial: FrozenTrial, folder: Path, overrides: list[str]) -> int:
        """Runs the trial's process to its end, and gives signs of life meanwhile; returns its exit code."""
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{self.plan.name}/{folder.name}"
        line = [*self.plan.command, *self.plan.train, *overrides, setting("name", name), setting("output", folder)]
        (folder / "command.json").write_text(json.dumps(line, indent=1), encoding="utf-8")
        self._until_free(folder, trial._trial_id)
        (folder / FAILURE).unlink(missing_ok=True)
        with (folder / LOG).open("ab") as log:
            process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.plan.directory,
                env=self.share.environment() | {"SRLAB_ERROR": str(folder / FAILURE)},
                start_new_session=True,  # a terminal's Ctrl-C is for the sweep, which ends its trials in order
                preexec_fn=dies_with_parent(),
            )
            try:
                beat = self._alive(trial._trial_id)
                while process.poll() is None:
                    time.sleep(_POLL_SECONDS)
                    beat()
            finally:
                if process.poll() is None:
                    process.terminate()
                    try:
                        process.wait(timeout=10)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()
        return process.returncode

    def _until_free(self, folder: Path, trial_id: int) -> None:
        """Waits while an earlier attempt, whose worker was killed, still writes the folder."""
        beat, lock = self._alive(trial_id), FileLock(RunFolder(folder).lock)
        while True:
            try:
                with lock.acquire(timeout=0.5):
                    return
            except Timeout:
                beat()

    def _alive(self, trial_id: int) -> Callable[[], None]:
        """Gives a sign of life when called, as often as the plan says."""
        self.storage.record_heartbeat(trial_id)
        last = time.monotonic()

        def beat() -> None:
            nonlocal last
            if time.monotonic() - last >= self.plan.heartbeat:
                self.storage.record_heartbeat(trial_id)
                last = time.monotonic()

        return beat

    def _put_back(self, number: int, trial_id: int, *, counted: bool) -> None:
        """Ends this attempt; ``counted`` where it was killed, and not asked to leave."""
        if self.storage.get_trial(trial_id).state.is_finished():
            return
        self.study.tell(number, state=TrialState.FAIL)
        self.plan.requeue(self.study, self.storage.get_trial(trial_id), counted=counted)

    def _fail(self, number: int, trial_id: int, text: str) -> None:
        if not self.storage.get_trial(trial_id).state.is_finished():
            self.storage.set_trial_user_attr(trial_id, ERROR, text[-_ERROR_CHARACTERS:])
        self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)


def work(plan: Plan, index: int, share: Share) -> int:
    """Runs a worker in this process, in the sweep's working directory; returns how many trials it ran."""
    os.chdir(plan.directory)
    return Worker(plan=plan, index=index, share=share).work()


def _ended_early(folder: Path) -> bool:
    result = RunFolder(folder).result()
    return result is not None and result.ended_by == "early_end"


def _error_text(folder: Path, code: int) -> str:
    """What a failed process told, or what stands last in its log where it could tell nothing."""
    try:
        said = str(json.loads((folder / FAILURE).read_text(encoding="utf-8"))["message"])
    except (OSError, KeyError, TypeError, ValueError):
        said = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip()[-_ERROR_CHARACTERS:]
    return f"exit code {code}: {said}"
