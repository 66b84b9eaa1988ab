"""What may be registered: names that the registry takes, a run that has finished, and what belongs together."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sr_lab.artefacts.artefact import Artefact
from sr_lab.artefacts.folder import METADATA, WEIGHTS
from sr_lab.base.words import line, setting
from sr_lab.tracking.registry.aliases import CHAMPION, PREVIOUS, UNUSED
from sr_lab.tracking.registry.seal import EARLIER, SEAL
from sr_lab.tracking.store import restore_command

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

EXPORT_TAGS = ("export.of", "export.weights", "export.precision", "export.judged")
LINEAGE_TAGS = ("git.commit", "git.dirty", "data.training", "data.validation", "data.test", "protocol", *EXPORT_TAGS)
METRIC_PREFIX = "test/"
TAG_LIMIT = 4500


def require_name(name: str) -> None:
    """Refuses a name of a registered model that MLflow, or ``models:/NAME@ALIAS``, could not take.

    Raises:
        ValueError: naming the character.
    """
    if not name or name != name.strip() or len(name) > 250:
        raise ValueError(f"name={name!r}: a registered model needs a name of 1 to 250 characters, no space at its ends")
    wrong = sorted({character for character in name if character in "'\"`\\/:@%?#" or not character.isprintable()})
    if wrong:
        raise ValueError(f"name={name!r}: a registered model's name cannot hold {' '.join(map(repr, wrong))}")


def require_alias(alias: str) -> None:
    """Refuses an alias that MLflow does not take, or that only promotion and rollback may move.

    Raises:
        ValueError: saying which.
    """
    if alias.lower() in (CHAMPION, PREVIOUS):
        raise ValueError(
            f"alias={alias}: {CHAMPION} and {PREVIOUS} are moved by srlab promote, which asks the gate and writes the "
            "audit, and by srlab rollback: register as candidate, then promote"
        )
    if alias.lower() in ("latest", UNUSED) or re.fullmatch(r"[vV]\d+", alias):
        raise ValueError(f"alias={alias!r} means something else in the registry: give another word")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,250}", alias):
        raise ValueError(f"alias={alias!r}: give one word of letters, digits, _ and -")


def require_tags(tags: Mapping[str, str]) -> None:
    """Refuses a user's tags that would replace what is written from the run, or that MLflow does not take.

    Raises:
        ValueError: naming the tag.
    """
    for key, value in tags.items():
        if key in (SEAL, EARLIER, "run", *LINEAGE_TAGS) or key.startswith(METRIC_PREFIX):
            raise ValueError(f"tags.{key}: that tag is written from the run itself: give another word")
        if not re.fullmatch(r"[\w./ -]{1,250}", key) or re.search(r"(^|/)\.*(/|$)", key):
            raise ValueError(f"tags: {key!r} is no name of a tag: letters, digits, _ . / - and spaces")
        if len(value) > TAG_LIMIT:
            raise ValueError(f"tags.{key}: {len(value)} characters, at most {TAG_LIMIT}")


def called(run: "MlflowRun") -> str:
    """A run by its id and its name, for messages."""
    name = run.data.tags.get("mlflow.runName") or run.info.run_name
    return f"{run.info.run_id} ({name})" if name else str(run.info.run_id)


def require_finished(run: "MlflowRun", uri: str) -> None:
    """Refuses a run that is in the trash or did not come to its end.

    Raises:
        ValueError: naming the run, and what helps.
    """
    if run.info.lifecycle_stage == "deleted":
        command = restore_command("runs", str(run.info.run_id), uri)
        raise ValueError(f"run {called(run)} is in MLflow's trash; to take it out:  {command}")
    if run.info.status != "FINISHED":
        raise ValueError(
            f"run {called(run)} is {run.info.status}: only the model of a finished run is registered; the command "
            "that trained it goes on where it stopped"
        )


def require_belonging(run: "MlflowRun", artefact: Artefact, folder: Path | None) -> tuple[str, ...]:
    """What has to be known of a model whose evaluations do not say which weights they measured.

    Raises:
        ValueError: if an evaluation in the run, or the run's folder, is of other weights than the model's.
    """
    own = str(artefact.metadata.get("sha256", {}).get(WEIGHTS))
    measured = {key.split("/")[1] for key in run.data.metrics if key.startswith(METRIC_PREFIX) and key.count("/") > 1}
    unknown = []
    for benchmark in sorted(measured):
        weights = run.data.tags.get(f"test.{benchmark}.weights")
        if weights is None:
            unknown.append(benchmark)
        elif weights != own:
            raise ValueError(
                f"run {called(run)}: its numbers on {benchmark} are of the weights {weights[:12]}, its model has the "
                f"weights {own[:12]}: measure its own model (srlab evaluate restorer=runs:/{run.info.run_id}/model "
                "run=DIR), then register"
            )
    if folder is not None and (metadata := folder / "best" / METADATA).is_file():
        found = _weights_named(metadata)
        if found is not None and found != own:
            raise ValueError(
                f"{folder / 'best'} holds the weights {found[:12]}, the run that {folder} has tracked is "
                f"{called(run)} with the weights {own[:12]}: they do not belong together. The tracked model: "
                f"{line('register', setting('run', run.info.run_id), 'name=...')}; the folder's: train again"
            )
    if not unknown:
        return ()
    return (
        f"The numbers on {', '.join(unknown)} do not say which weights they are of: they were recorded by an earlier "
        "release of srlab.",
    )


def _weights_named(metadata: Path) -> str | None:
    """The hash of its weights that an artefact's metadata names; None where it cannot be read."""
    try:
        return str(json.loads(metadata.read_text(encoding="utf-8"))["sha256"][WEIGHTS])
    except (ValueError, KeyError, TypeError):
        return None
