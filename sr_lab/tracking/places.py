"""Where the store of a recorded run is now: a project that was copied or moved has its own."""

import contextlib
import os
from dataclasses import replace
from pathlib import Path

from sr_lab.base.databases import SQLITE, read_sqlite, sqlite_path
from sr_lab.base.words import line, setting
from sr_lab.tracking.embedded import StoreError, knows
from sr_lab.tracking.spool import Identity, Spool
from sr_lab.tracking.store import check_uri, restore_command
from sr_lab.tracking.trackers import tracker_of


def settle(spool: Spool) -> Identity:
    """Who a run is, with the store that it has where it lies now; that is written down if it changed.

    A database file is looked for where it was in relation to the run's folder, so that a copied or moved project has
    its own; a run that was recorded by an earlier release, without its folder, in the nearest folder above it. It
    counts if it knows the run. A server stays what it is.

    Raises:
        ValueError: if there is no run.
        StoreError: if the store is gone, or the folder is a copy of a run whose store was not copied with it.
    """
    identity = spool.identity
    if identity.uri is None:
        return identity
    here = spool.directory.resolve()
    settled = replace(identity, uri=_store(spool, identity, identity.uri, here), directory=str(here))
    if settled != identity:
        with contextlib.suppress(OSError):  # somebody else's, to be read only
            spool.create(settled)
    return settled


def require_reopenable(directory: Path | str) -> Identity:
    """Refuses a folder whose run cannot take results any more; asked before something is measured for it.

    Args:
        directory: Folder of the record.

    Returns:
        Who the run is, with the store that it has now.

    Raises:
        ValueError: if it holds no run.
        StoreError: if its store cannot be used, or has the run in its trash. A server is not asked.
    """
    spool = Spool(Path(directory))
    identity = settle(spool)
    for tracker in identity.trackers.values():
        tracker_of(tracker).check()
    if identity.uri is None:
        return identity
    check_uri(identity.uri)
    path, run_id = sqlite_path(identity.uri), spool.state.run_id
    if path is not None and run_id is not None and path.is_file():
        stage = read_sqlite(path, "SELECT lifecycle_stage FROM runs WHERE run_uuid = ?", (run_id,))
        if stage and stage[0][0] != "active":
            raise StoreError(
                f"run {run_id} ({spool.directory.parent}) was deleted in {path}: restore it:  "
                f"{restore_command('runs', run_id, identity.uri)}"
            )
    return identity


def _store(spool: Spool, identity: Identity, uri: str, here: Path) -> str:
    recorded = sqlite_path(uri)
    if recorded is None:
        return uri
    before = Path(identity.directory) if identity.directory else None
    sent = spool.state.run_id is not None
    beside = _beside(recorded, before, here)
    if beside is not None and beside != recorded and (knows(beside, identity.uid) if sent else beside.is_file()):
        return f"{SQLITE}{beside}"
    if before is not None and before != here and _is_the_original(Spool(before), spool, identity.uid):
        raise StoreError(
            f"{here.parent} is a copy of {before.parent}, whose store {recorded} was not copied with it: use the "
            "original, or copy the whole project"
        )
    if recorded.is_file():
        return uri
    if not sent:  # the store is made when the run is sent
        return f"{SQLITE}{beside}" if beside is not None and beside.parent.is_dir() else uri
    looked = f"no {recorded}" if beside in (None, recorded) else f"neither {recorded} nor {beside}"
    again = line("sync", setting("directory", here.parent), setting("uri", "sqlite:///FILE.db"))
    raise StoreError(
        f"run {identity.name!r} ({here.parent}): its store is gone: there is {looked}. Put it back, or record the run "
        f"in another one:  {again}"
    )


def _beside(recorded: Path, before: Path | None, here: Path) -> Path | None:
    """The place that has the store's place in relation to the run's folder."""
    if before is not None:
        return Path(os.path.normpath(here / os.path.relpath(recorded, before)))
    return next((folder / recorded.name for folder in here.parents if (folder / recorded.name).is_file()), None)


def _is_the_original(original: Spool, spool: Spool, uid: str) -> bool:
    try:
        return original.identity.uid == uid and not original.directory.samefile(spool.directory)
    except (OSError, ValueError):
        return False
