"""Agree to the decision of srlab promote that asks for a person's approval.

    srlab approve name=NAME by="Anna Smith" version=7   # refused if by now another version waits

The consent is to exactly that decision: the same numbers, under the same policy, against the same champion; it becomes
a record in the audit (srlab history). srlab promote then makes the candidate the champion without measuring again.
Fails where no decision waits. Exit code 4 of srlab promote says that one does.
"""

from omegaconf import DictConfig

from sr_lab.config.call import called
from sr_lab.workflows.approve import approve, how_to_go_on


def run(cfg: DictConfig) -> int:
    """Approves the decision that waits on ``cfg.name``, and tells which it was."""
    if isinstance(cfg.version, bool) or not isinstance(cfg.version, int | None):
        raise ValueError(f"version={cfg.version}: the number of a version, as srlab promote prints it, or null")
    consent = called(approve, cfg)
    done = consent.record
    print(consent.request.reason)
    print(f"{done.who} agrees to decision {str(done.decision)[:12]} on {cfg.name} version {done.target}")
    print(f"now, with the same policy=...:  {how_to_go_on(cfg.tracking_uri, cfg.name)}")
    return 0
