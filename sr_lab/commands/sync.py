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

from sr_lab.tracking.sync import reap_dead_runs, sync


def run(cfg: DictConfig) -> int:
    """Send the runs below ``cfg.directory``."""
    directory = Path(cfg.directory)
    outcomes = sync(directory, uri=cfg.uri, seconds=cfg.seconds)
    failed = False
    for outcome in outcomes:
        line = f"{outcome.directory}  {outcome.name}: {outcome.state}, {outcome.sent} events sent"
        if outcome.left:
            line += f", {outcome.left} left"
        if outcome.state in ("unsent", "refused"):
            failed = True
            print(f"{line}: {outcome.reason}", file=sys.stderr)
        else:
            print(line)
    if not outcomes:
        print(f"no tracked runs below {directory}")
    for uri in sorted({outcome.uri for outcome in outcomes if outcome.uri and outcome.state == "sent"}):
        for run_id in reap_dead_runs(uri, stale_minutes=cfg.stale_minutes):
            print(f"run {run_id}: marked KILLED, nobody feeds it any more")
    return 1 if failed else 0
