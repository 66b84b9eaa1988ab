"""Make the previous champion of a registered model the champion again, in one step.

    srlab rollback name=NAME reason="text got worse"

The alias ``champion`` goes back to the version that ``previous`` names, and who did it, when and why becomes an audit
record (srlab history). A second rollback goes one champion further back; it does not return to the bad version. Fails,
and changes nothing, where there is no previous champion.
"""

from omegaconf import DictConfig

from sr_lab.tracking.aliases import rollback
from sr_lab.tracking.environment import user


def run(cfg: DictConfig) -> int:
    """Roll back ``cfg.name``."""
    done = rollback(cfg.tracking_uri, str(cfg.name), reason=str(cfg.reason), who=user())
    print(f"{cfg.name} version {done.target} is models:/{cfg.name}@champion again, instead of version {done.source}")
    return 0
