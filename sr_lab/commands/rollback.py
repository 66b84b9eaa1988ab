"""Make the previous champion of a registered model the champion again, in one step.

    srlab rollback name=NAME reason="text got worse"
    srlab rollback name=NAME reason="..." events=hook events.command="./deploy.sh"

The alias ``champion`` goes back to the version that ``previous`` names, and who did it, when and why becomes an audit
record (srlab history). A second rollback goes one champion further back; it does not return to the bad version. Fails,
and changes nothing, where there is no previous champion. Exit code 5: rolled back, but the hook failed.
"""

from omegaconf import DictConfig

from sr_lab.base.provenance import user
from sr_lab.config.compose import build
from sr_lab.tracking.registry.aliases import rollback
from sr_lab.tracking.registry.events import fire


def run(cfg: DictConfig) -> int:
    """Roll back ``cfg.name``."""
    name = str(cfg.name)
    hook = None if cfg.events is None else build(cfg.events)
    done = rollback(cfg.tracking_uri, name, reason=str(cfg.reason), who=user())
    print(
        f"{name} version {done.target} is models:/{name}@champion again, instead of version {done.source}", flush=True
    )
    return fire(hook, done, name=name, uri=cfg.tracking_uri)
