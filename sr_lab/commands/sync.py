"""Send to the tracking server what it did not take while the runs were alive.

    srlab sync directory=runs

Every run at or below ``directory`` is looked at. Events are sent in order and once, whatever was interrupted before;
runs whose process is gone are closed: with the status that they recorded, else as KILLED. Runs that are alive send
themselves and are only listed.

Exit code 0 if nothing is left to send, 1 otherwise, with the names of the runs and the reasons.
"""

import sys

from omegaconf import DictConfig

from sr_lab.config.call import called
from sr_lab.workflows.sync import sync


def run(cfg: DictConfig) -> int:
    """Sends the runs below ``cfg.directory``, and prints what became of each."""
    synced = called(sync, cfg)
    for outcome in synced.outcomes:
        print(outcome.text, file=sys.stdout if outcome.complete else sys.stderr)
    if not synced.outcomes:
        print(f"no tracked runs below {synced.directory}")
    for run_id in synced.closed:
        print(f"run {run_id}: marked KILLED, nobody feeds it any more")
    return 0 if synced.complete else 1
