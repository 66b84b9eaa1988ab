"""What the program keeps beside a tracked run for itself, as tags that MLflow's pages do not show.

MLflow shows every tag but those that begin with ``mlflow.``. Runs of earlier releases have the same tags without that
beginning, in everybody's sight; they are read as well.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

HIDDEN = "mlflow."
UID_TAG = f"{HIDDEN}srlab.uid"
PROCESS_TAG = f"{HIDDEN}srlab.process"
HEARTBEAT_TAG = f"{HIDDEN}srlab.heartbeat"


def names_of(tag: str) -> tuple[str, str]:
    """The names under which a mark may stand: today's, and that of earlier releases."""
    return tag, tag.removeprefix(HIDDEN)


def mark(tags: Mapping[str, str], tag: str) -> str | None:
    """The value of a mark, under whichever name it stands; None where there is none.

    >>> mark({"srlab.uid": "7f"}, UID_TAG)
    '7f'
    """
    return next((tags[name] for name in names_of(tag) if name in tags), None)


def run_of(client: "MlflowClient", experiment: str, uid: str) -> "Run | None":
    """The run of an experiment that has this uid; None where there is none.

    Args:
        client: A connected client.
        experiment: Id of the experiment.
        uid: What the spool calls the run.

    Raises:
        mlflow.MlflowException: If the store does not answer.
    """
    for name in names_of(UID_TAG):
        found = client.search_runs([experiment], f"tags.`{name}` = '{uid}'", max_results=1)
        if found:
            return found[0]
    return None
