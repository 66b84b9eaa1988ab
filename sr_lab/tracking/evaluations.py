"""The evaluations of a tracked run: how they are written into it, and how they are read back.

Keys tell benchmark and scale, as ``test/set5_x4/psnr_y``. Beside them, as tags, stand the protocol, what could not be
measured, and the hash of the weights that were measured: an evaluation belongs to a run only if these are the run's.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr_lab.base.errors import SRLabError
from sr_lab.tracking.spool import Spool

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

STAGE, GAIN, TABLES = "test", "gain_", "tables"


class ForeignWeights(SRLabError, ValueError):
    """An evaluation is to be recorded in a run that did not make the weights."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured on one benchmark.

    Attributes:
        name: As in the run's keys, ``set5_x4``.
        protocol: Protocol of the numbers.
        means: Metric to mean, and ``gain_METRIC`` to the mean gain over bicubic.
        rows: Per-image table, with ``image``, the metrics and ``bicubic`` (their values of bicubic).
        weights: SHA-256 of the weights that were measured; None in a run of an earlier release.
        not_measured: Metric to the reason why there is no value.
    """

    name: str
    protocol: str
    means: Mapping[str, float]
    rows: Sequence[Mapping[str, Any]] = ()
    weights: str | None = None
    not_measured: Mapping[str, str] | None = None


def name_of(benchmark: Path, scale: int) -> str:
    """What a benchmark is called in the keys: its last two folders and the scale, ``set5_x4`` for ``Set5/x4``."""
    folders = [part for part in benchmark.resolve().parts[-2:] if part != f"x{scale}"]
    return "_".join([*folders, f"x{scale}"]).lower()


def weights_of(run_folder: Path) -> str | None:
    """SHA-256 of the weights of the model that a tracked run has recorded; None where it has recorded none.

    Raises:
        ValueError: if the folder holds no tracked run.
    """
    spool = Spool(run_folder / "tracking")
    if not spool.exists:
        raise ValueError(f"run={run_folder}: the folder holds no tracked run (train with tracking=mlflow)")
    recorded = [event for event in spool.events() if event["kind"] == "model"]
    if recorded and recorded[-1].get("weights"):
        return str(recorded[-1]["weights"])
    model = run_folder / "model" / "metadata.json"  # of a run of an earlier release
    if not model.is_file():
        return None
    found = json.loads(model.read_text(encoding="utf-8")).get("sha256", {}).get("weights.safetensors")
    return None if found is None else str(found)


def require_own_weights(run_folder: Path, *, restorer: str, weights: str | None) -> None:
    """Refuses to record an evaluation in a run whose weights it does not measure.

    Args:
        run_folder: Folder of the run.
        restorer: What is measured, as the user named it.
        weights: SHA-256 of its weights; None where it has none (bicubic) or more than one network's.

    Raises:
        ForeignWeights: if the run's model has other weights, or none is known.
    """
    own = weights_of(run_folder)
    if own is None:
        raise ForeignWeights(
            f"run={run_folder} has recorded no model, so nothing measured belongs to it: let its training end first"
        )
    if weights != own:
        has = "has no weights" if weights is None else f"has the weights {weights[:12]}"
        raise ForeignWeights(
            f"restorer={restorer} {has}, the model that run={run_folder} has recorded has {own[:12]}: an evaluation is "
            f"recorded only in the run whose weights it measures. Give the run of these weights, the restorer "
            f"{run_folder / 'model'}, or run=null"
        )


def record(
    run_folder: Path, evaluation: Evaluation, *, step: int, files: Sequence[Path], drain_seconds: float = 60
) -> None:
    """Adds an evaluation to the tracked run of a folder: numbers, tags, per-image table and files.

    Args:
        run_folder: Folder of the run.
        evaluation: What was measured.
        step: Training step of the weights.
        files: Files to keep with it, as the report and the picture.
        drain_seconds: How long is waited until the store has everything.
    """
    from sr_lab.tracking.run import Run

    name = evaluation.name
    tags = {f"{STAGE}.{name}.protocol": evaluation.protocol}
    if evaluation.weights is not None:
        tags[f"{STAGE}.{name}.weights"] = evaluation.weights
    reasons = {f"{STAGE}.{name}.{key}": f"not measured: {why}" for key, why in (evaluation.not_measured or {}).items()}
    with Run.reopen(run_folder / "tracking", drain_seconds=drain_seconds) as tracked:
        tracked.log_metrics({f"{STAGE}/{name}/{key}": value for key, value in evaluation.means.items()}, step)
        tracked.log_tags({**tags, **reasons})
        tracked.log_table([dict(row) for row in evaluation.rows], f"{TABLES}/{name}.json")
        for file in files:
            tracked.log_file(file, f"evaluation/{name}")


def read(client: "MlflowClient", run: "MlflowRun", tables: Mapping[str, str]) -> list[Evaluation]:
    """The evaluations of a run in the store.

    Args:
        client: Of the store.
        run: The run.
        tables: Text of the files below ``tables/``, by path.
    """
    found: dict[str, dict[str, float]] = {}
    for key, value in run.data.metrics.items():
        stage, _, rest = key.partition("/")
        name, _, metric = rest.rpartition("/")
        if stage == STAGE and name:
            found.setdefault(name, {})[metric] = value
    tags = run.data.tags
    return [
        Evaluation(
            name=name,
            protocol=tags.get(f"{STAGE}.{name}.protocol", "unknown"),
            means=means,
            rows=_rows(tables.get(f"{TABLES}/{name}.json")),
            weights=tags.get(f"{STAGE}.{name}.weights"),
            not_measured={
                key.removeprefix(f"{STAGE}.{name}."): text.removeprefix("not measured: ")
                for key, text in tags.items()
                if key.startswith(f"{STAGE}.{name}.") and text.startswith("not measured: ")
            },
        )
        for name, means in sorted(found.items())
    ]


def _rows(text: str | None) -> list[dict[str, Any]]:
    if text is None:
        return []
    table = json.loads(text)
    return [dict(zip(table["columns"], values, strict=True)) for values in table["data"]]
