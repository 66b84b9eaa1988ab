"""Run a hook once more for the last change of the champion, for a deployment that missed it.

    srlab notify name=NAME events.command="./deploy.sh"

The hook gets the facts of the last promotion or rollback, as it did right after it (conf/events/hook.yaml). Fails where
the champion is another version than the audit says. Exit code 5: the hook failed.
"""

import sys

from omegaconf import DictConfig

from sr_lab.config.compose import build
from sr_lab.workflows import notify
from sr_lab.workflows.notify import HOOK_FAILED, Told


def run(cfg: DictConfig) -> int:
    """Tells of the champion of ``cfg.name``; silent where that went well."""
    failure = call(cfg).failure
    if failure is not None:
        print(f"srlab notify: {failure}", file=sys.stderr)
        return HOOK_FAILED
    return 0


def call(cfg: DictConfig) -> Told:
    """Tells of the champion of ``cfg.name``."""
    return notify.notify(name=str(cfg.name), hook=build(cfg.events), tracking_uri=str(cfg.tracking_uri))
