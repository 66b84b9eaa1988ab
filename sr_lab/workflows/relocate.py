"""Making a store that was copied or moved with its project use the files where it is now."""

from pathlib import Path

from sr_lab.tracking import embedded
from sr_lab.tracking.embedded import Relocated
from sr_lab.tracking.store import resolve_uri, sqlite_path

__all__ = ["Relocated", "relocate"]


def relocate(*, tracking_uri: str, old: Path | None = None) -> Relocated:
    """Rewrites the places of all artefacts in an SQLite store, from the folder where it was made to where it is.

    Runs, experiments, models and registered versions are changed together or not at all; the files themselves are not
    touched, and neither is the store that a copy was made of.

    Args:
        tracking_uri: The store, ``sqlite:///FILE.db``.
        old: The folder that held the store when it was made; None takes what the store says.

    Returns:
        Both folders, how many places were rewritten, and the files that are not there.

    Raises:
        ValueError: if it is no such store, or its files are still at the old place and not at the new one.
        ConnectionError: if another process holds the store.
    """
    uri = resolve_uri(tracking_uri)
    path = sqlite_path(uri)
    if path is None:
        raise ValueError(f"tracking_uri={tracking_uri} is no file: a server keeps its artefacts where they are")
    return embedded.relocate(path, old=old)
