"""Until each command has its workflow: ``workflows.load`` as the commands called it."""

from typing import Any

from sr_lab.workflows import load
from sr_lab.workflows.load import choose_device, fetch_artefact

__all__ = ["choose_device", "fetch_artefact", "load_restorer"]


def load_restorer(name: str, **settings: Any) -> tuple[Any, dict[str, Any] | None]:
    """The restorer and its metadata; see ``workflows.load.load_restorer``."""
    restorer = load.load_restorer(name, **settings)
    return restorer, None if restorer.metadata is None else dict(restorer.metadata)
