"""Agree to the decision of srlab promote that asks for a person's approval.

    srlab approve name=NAME by="Anna Smith" version=7   # refused if by now another version waits

The consent is to exactly that decision: the same numbers, under the same policy, against the same champion; it becomes
a record in the audit (srlab history). srlab promote then makes the candidate the champion without measuring again.
Fails where no decision waits. Exit code 4 of srlab promote says that one does.
"""

from omegaconf import DictConfig

from sr_lab.base.provenance import user
from sr_lab.tracking.registry.decisions import approve, open_request


def run(cfg: DictConfig) -> int:
    """Approve the waiting decision on ``cfg.name``."""
    name = str(cfg.name)
    if not isinstance(cfg.version, int | None):
        raise ValueError(f"version={cfg.version}: a number, as srlab promote prints it")
    request, _ = open_request(cfg.tracking_uri, name)
    if request is not None:
        print(request.reason)
    done = approve(cfg.tracking_uri, name, by=str(cfg.by), user=user(), version=cfg.version)
    print(f"{done.who} agrees to decision {str(done.decision)[:12]} on {name} version {done.target}")
    print(f"now: srlab promote name={name} policy=...  (the same policy)")
    return 0
