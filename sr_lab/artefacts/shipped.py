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


def shipped_families() -> list[str]:
    """Names of the same models without their scales, each once.

    >>> shipped_families()
    ['base', 'clip', 'edge', 'live']
    """
    return sorted({name.rpartition("_x")[0] for name in shipped_models()})


def shipped_scales(name: str) -> list[int]:
    """Enlargement factors for which a model is shipped, ascending; none where ``name`` is not that of one.

    Args:
        name: The model without its scale, as ``edge``.

    >>> shipped_scales("edge"), shipped_scales("edge_x4"), shipped_scales("bicubic")
    ([2, 3, 4], [], [])
    """
    models = (model.rpartition("_x") for model in shipped_models())
    return sorted(int(scale) for family, _, scale in models if family == name)


def find_shipped(name: str, *, scale: int | None = None) -> Path | None:
    """The folder of a shipped model.

    Args:
        name: The model with its scale (``edge_x4``), or without it (``edge``).
        scale: Enlargement factor that is wanted where ``name`` does not say it; None is 4, or the only
            one that there is.

    Returns:
        The artefact's folder; None where ``name`` is not the name of a shipped model.

    Raises:
        ValueError: If there is such a model, of other scales only.

    >>> find_shipped("edge", scale=4).name
    'edge_x4'
    >>> find_shipped("runs/photos/best") is None
    True
    """
    if name in shipped_models():
        return MODELS / name
    scales = shipped_scales(name)
    if not scales:
        return None
    wanted = scale if scale is not None else scales[0] if len(scales) == 1 else DEFAULT_SCALE
    if wanted not in scales:
        told = ", ".join(map(str, scales))
        raise ValueError(f"{name} is shipped for scale {told}, and scale={wanted} is asked for")
    return MODELS / f"{name}_x{wanted}"
