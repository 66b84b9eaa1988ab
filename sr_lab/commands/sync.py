"""Send to the tracking server what it did not take while the runs were alive.

    srlab sync directory=runs

Every run at or below ``directory`` is looked at. Events are sent in order and once, whatever was interrupted before;
runs whose process is gone are closed: with the status that they recorded, else as KILLED. Runs that are alive send
themselves and are only listed.

Exit code 0 if nothing is left to send, 1 otherwise, with the names of the runs and the reasons.
"""

import sys
from pathlib import Path

from omegaconf import DictConfig

from sr_lab.config.words import counted
from sr_lab.workflows.sync import Synced, sync


def call(cfg: DictConfig) -> Synced:
    """Sends the runs below ``cfg.directory``."""
    return sync(directory=Path(str(cfg.directory)), uri=cfg.uri, seconds=cfg.seconds, stale_minutes=cfg.stale_minutes)


def run(cfg: DictConfig) -> int:
    """Prints what became of each run."""
    synced = call(cfg)
    for outcome in synced.outcomes:
        where = "" if outcome.tracker is None else f" ({outcome.tracker})"
        line = f"{outcome.directory}  {outcome.name}{where}: {outcome.state}, {counted(outcome.sent, 'event')} sent"
        if outcome.left:
            line += f", {outcome.left} left"
        if outcome.state in ("unsent", "refused"):
            print(f"{line}: {outcome.reason}", file=sys.stderr)
        else:
            print(line)
    if not synced.outcomes:
        print(f"no tracked runs below {synced.directory}")
    for run_id in synced.closed:
        print(f"run {run_id}: marked KILLED, nobody feeds it any more")
    return 0 if synced.complete else 1
