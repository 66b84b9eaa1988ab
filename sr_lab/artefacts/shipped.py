"""The models that come with the package: folders of ``sr_lab/models``, each an artefact."""

from pathlib import Path

MODELS = Path(__file__).parents[1] / "models"
DEFAULT_SCALE = 4


def shipped_models() -> list[str]:
    """Names of the models that the package holds, as ``edge_x4``.

    >>> "edge_x4" in shipped_models()
    True
    """
    return sorted(folder.name for folder in MODELS.iterdir() if (folder / "metadata.json").is_file())


def find_shipped(name: str, *, scale: int | None = None) -> Path | None:
    """The folder of a shipped model.

    Args:
        name: The model with its scale (``edge_x4``), or without it (``edge``).
        scale: Enlargement factor that is wanted where ``name`` does not say it; None is 4.

    Returns:
        The artefact's folder; None where ``name`` is not the name of a shipped model.

    Raises:
        ValueError: If there is such a model, of other scales only.

    >>> find_shipped("edge", scale=4).name
    'edge_x4'
    >>> find_shipped("runs/photos/best") is None
    True
    """
    known = shipped_models()
    if name in known:
        return MODELS / name
    scales = [each.rpartition("_x")[2] for each in known if each.rpartition("_x")[0] == name]
    if not scales:
        return None
    wanted = DEFAULT_SCALE if scale is None else scale
    if str(wanted) not in scales:
        raise ValueError(f"{name} is shipped for scale {', '.join(scales)}, and scale={wanted} is asked for")
    return MODELS / f"{name}_x{wanted}"
