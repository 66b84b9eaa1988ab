"""Register the model of a finished run in MLflow's registry.

    srlab register run=runs/NAME name=MODEL

Makes a version of ``name`` from the run's model, with its lineage as tags (run, commit, data versions, protocol, test
metrics), and points the alias at it, so that ``models:/NAME@ALIAS`` loads it. Registering the same model again makes no
second version. Fails, visibly, where the run is not finished or the store does not answer.
"""

from omegaconf import DictConfig

from sr_lab.tracking.registry import locate, register


def run(cfg: DictConfig) -> int:
    """Register ``cfg.run`` as ``cfg.name``."""
    uri, run_id = locate(str(cfg.run), uri=cfg.uri, default_uri=cfg.default_uri)
    version = register(uri, run_id, cfg.name, cfg.alias, {str(k): str(v) for k, v in cfg.tags.items()}, model=cfg.model)
    print(f"{version.name} version {version.number} is {version.uri} (run {run_id})")
    return 0
