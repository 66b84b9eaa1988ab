"""MLflow's model registry: versions of a named model, with their lineage. Unlike logging this fails when it fails."""

import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr_lab.artefacts.artefact import Artefact, load_artefact
from sr_lab.artefacts.folder import FILES
from sr_lab.base.words import counted, line, setting
from sr_lab.tracking.places import settle
from sr_lab.tracking.registry.admission import (
    LINEAGE_TAGS,
    METRIC_PREFIX,
    called,
    require_alias,
    require_belonging,
    require_finished,
    require_name,
    require_tags,
)
from sr_lab.tracking.registry.aliases import require_settled
from sr_lab.tracking.registry.beside import CARD, card_of
from sr_lab.tracking.registry.card import INTENDED_USE, model_card, run_facts
from sr_lab.tracking.registry.ledger import Audit
from sr_lab.tracking.registry.seal import SEAL, check_seal, seal, sealed
from sr_lab.tracking.spool import Spool
from sr_lab.tracking.store import (
    call,
    connect,
    download,
    find_model,
    grant,
    resolve_uri,
    sqlite_path,
    without_password,
)
from sr_lab.training.run_folder import RunFolder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities import Run as MlflowRun
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["Version", "download", "locate", "register"]

DESCRIPTION_LIMIT = 5000
PAGE = (
    "Super-resolution models that enlarge pictures by {scale}. The alias champion is the version in use; each version "
    "says on its page what it is for and what was measured. Who decided what on them, and why:  srlab history {name}"
)
"""What the registry's page says of a registered model."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version in the registry; ``uri`` loads it by its alias.

    Attributes:
        name: Registered model.
        number: Of the version.
        alias: What points at it.
        run_id: The run that made it.
        tags: What was written with it.
        card: File name of its model card, once it is downloaded.
        cautions: What has to be known of it, in sentences.
    """

    name: str
    number: int
    alias: str
    run_id: str
    tags: dict[str, str]
    card: str = CARD
    cautions: tuple[str, ...] = ()

    @property
    def uri(self) -> str:
        """``models:/NAME@ALIAS``."""
        return f"models:/{self.name}@{self.alias}"


def locate(run: str, *, uri: str | None, default_uri: str | None) -> tuple[str, str]:
    """Find the store and the id of a run that is given by its id or its folder.

    Args:
        run: an MLflow run id, or the folder of a run.
        uri: the store; None takes the one that the folder names, or ``default_uri`` for a run id.
        default_uri: where run ids are looked up otherwise.

    Returns:
        The store's uri and the run id.

    Raises:
        ValueError: if the folder is no run's, or its run is not wholly on the server.
    """
    folder = Path(run)
    if not folder.is_dir():
        if "/" in run or folder.suffix:
            raise ValueError(f"run {run}: no such folder, and not a run id either")
        return resolve_uri(uri or default_uri), run
    spool = Spool(folder if (folder / "spool.json").exists() else RunFolder(folder).tracking)
    if not spool.exists:
        raise ValueError(f"run {run}: the folder has no tracking/spool.json, so it was not tracked")
    if spool.identity.uri is None:
        sending = line("sync", setting("directory", run), setting("uri", resolve_uri(uri or default_uri)))
        raise ValueError(
            f"run {run} is recorded by {', '.join(spool.identity.trackers)} only, and models are registered in MLflow: "
            f"give the run to a store of MLflow's, too:  {sending}"
        )
    state, left = spool.state, spool.remaining()
    if left or state.run_id is None:
        sending = line("sync", setting("directory", run))
        raise ValueError(f"run {run}: {counted(left, 'event')} not on the server yet: run  {sending}  first")
    return resolve_uri(uri or settle(spool).uri), state.run_id


def register(
    uri: str,
    run_id: str,
    name: str,
    alias: str = "candidate",
    tags: Mapping[str, str] | None = None,
    *,
    model: str = "model",
    intended_use: str = INTENDED_USE,
    folder: Path | None = None,
) -> Version:
    """Make a version from a run's model and point an alias at it. Registering a model again makes no second version.

    Whatever would refuse it is looked at before a version exists. The version is whole before the alias points at it:
    beside the model lie the run's environment files and the card.

    Args:
        uri: tracking store, which is the registry too.
        run_id: the run.
        name: registered model, made if it does not exist.
        alias: moved to the version; ``champion`` and ``previous`` are moved by promotion and rollback only.
        tags: more tags, beside the lineage: run, commit, data versions, protocol, all metrics ``test/...``, and the
            hash of every file (see ``seal``).
        model: name of the model within the run.
        intended_use: what the model is for, as the model card says. The card is the version's description (the first
            5,000 characters), and ``download`` gives it with the model as MODEL_CARD.md.
        folder: the run's folder; its ``best`` has to hold the weights that the run has sent.

    Returns:
        The version.

    Raises:
        UnsettledError: if the registered model's audit and its alias ``champion`` disagree.
        ValueError: if run or model do not exist or do not belong together, the run has not finished, a file of the
            model was exchanged or is gone, or a name, an alias or a tag is none that the registry takes.
        PermissionError: if the server does not allow it to the user.
        RuntimeError: if the store does not answer.
    """
    require_name(name)
    require_alias(alias)
    require_tags(tags or {})
    uri = resolve_uri(uri)
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        raise ValueError(f"run {run_id}: there is no tracking store at {path}: run srlab train first, or give uri=")

    def work() -> Version:
        client = connect(uri)
        run = client.get_run(run_id)
        require_finished(run, uri)
        source = find_model(client, run, model)
        if source is None:
            raise ValueError(f"run {called(run)} in {without_password(uri)} has no model named {model!r}")
        found = _version_of(client, name, source)
        _require_settled(client, uri, name)
        with _files(uri, run, source) as files:
            files_seal, artefact = _seal(files, found), load_artefact(files)
        cautions = require_belonging(run, artefact, folder)
        lineage = {**_lineage(run), **dict(tags or {}), SEAL: files_seal}
        number = int(found.version) if found else _create(client, name, run, source, lineage)
        for key, value in lineage.items():
            client.set_model_version_tag(name, str(number), key, value)
        _complete(client, name, number, run, source, artefact, intended_use=intended_use, cautions=cautions)
        client.set_registered_model_alias(name, alias, str(number))
        return Version(name=name, number=number, alias=alias, run_id=run_id, tags=lineage, cautions=cautions)

    needs = grant("EDIT", "registered_model", name) + "; and EDIT on the run's experiment, where the card is written"
    version: Version = call(f"register run {run_id} as {name!r}", uri, work, needs=needs)
    return version


def _require_settled(client: "MlflowClient", uri: str, name: str) -> None:
    """Refuses while nobody knows which version is champion; a model that does not exist yet has none."""
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return
    found = {alias: int(version) for alias, version in model.aliases.items()}
    require_settled(client, uri, name, Audit(client, name).records, found)


def _complete(
    client: "MlflowClient",
    name: str,
    number: int,
    run: "MlflowRun",
    source: "LoggedModel",
    artefact: Artefact,
    *,
    intended_use: str,
    cautions: Sequence[str],
) -> None:
    facts = run_facts(client, run)
    text = model_card(
        facts, title=f"{name}, version {number}", artefact=artefact, intended_use=intended_use, cautions=cautions
    )
    with tempfile.TemporaryDirectory() as directory:
        for path, content in {card_of(name, number): text, **facts.environment}.items():
            (file := Path(directory) / path).parent.mkdir(exist_ok=True)
            file.write_text(content, encoding="utf-8")
        client.log_model_artifacts(source.model_id, directory)
    client.update_model_version(name, str(number), description=text[:DESCRIPTION_LIMIT])
    described_before = client.get_registered_model(name).description or ""
    if not described_before or described_before.startswith(PAGE[:40]):
        client.update_registered_model(name, description=PAGE.format(scale=artefact.scale, name=setting("name", name)))


def _lineage(run: "MlflowRun") -> dict[str, str]:
    tags = {key: run.data.tags[key] for key in LINEAGE_TAGS if key in run.data.tags}
    metrics = {key: f"{value:.6g}" for key, value in run.data.metrics.items() if key.startswith(METRIC_PREFIX)}
    return {"run": str(run.info.run_id), **tags, **metrics}


@contextmanager
def _files(uri: str, run: "MlflowRun", source: "LoggedModel") -> Iterator[Path]:
    """The files of a model, fetched once, for as long as the context lasts."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    place = str(source.artifact_location)
    gone = f"run {called(run)}: the files of its model are gone from {place}: train it again, or bring them back"
    if place.startswith("file:") and not Path(urllib.parse.unquote(urllib.parse.urlparse(place).path)).is_dir():
        raise ValueError(gone)
    with tempfile.TemporaryDirectory() as directory:
        try:
            folder = Path(download_artifacts(place, dst_path=directory, tracking_uri=uri))
        except MlflowException as error:
            if "failures occurred while downloading" not in str(error):
                raise
            raise ValueError(gone) from error
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise ValueError(f"run {called(run)}: {', '.join(missing)} of its model is gone from {place}")
        yield folder


def _seal(folder: Path, version: "ModelVersion | None") -> str:
    """The seal of a version that has one, if the files still are the same; else the files' as they are now."""
    known = None if version is None else sealed(version.tags)
    if version is None or known is None:
        return seal(folder)
    check_seal(folder, version.tags, uri=f"models:/{version.name}/{version.version}")
    return known


def _version_of(client: "MlflowClient", name: str, source: "LoggedModel") -> "ModelVersion | None":
    versions: list[Any] = client.search_model_versions(f"name = '{name}'")
    return next((version for version in versions if version.source == source.artifact_location), None)


def _create(client: "MlflowClient", name: str, run: "MlflowRun", source: "LoggedModel", tags: Mapping[str, str]) -> int:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        name, source.artifact_location, run_id=run.info.run_id, tags=dict(tags), model_id=source.model_id
    )
    return int(version.version)
