"""Packages that are not installed with sr_lab alone, and by which of its extras they are."""

EXTRAS = {
    "av": "video",
    "cmaes": "sweep",
    "einops": "community",
    "imagecodecs": "tiff",
    "optuna": "sweep",
    "psycopg2": "postgres",
    "ray": "cluster",
    "spandrel": "community",
    "submitit": "cluster",
}


def remedy(module: str) -> str | None:
    """How a missing module is installed, as a sentence; None where it is no extra's.

    Args:
        module: The module's dotted name, as ``ModuleNotFoundError.name`` gives it.

    Example:
        >>> remedy("optuna.samplers")
        "optuna is not installed: pip install 'sr-lab[sweep]'"
    """
    package = module.partition(".")[0]
    return f"{package} is not installed: pip install 'sr-lab[{EXTRAS[package]}]'" if package in EXTRAS else None
