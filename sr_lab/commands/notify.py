"""Run a hook once more for the last change of the champion, for a deployment that missed it.

    srlab notify name=NAME events.command="./deploy.sh"

The hook gets the facts of the last promotion or rollback, as it did right after it (conf/events/hook.yaml). Fails where
the champion is another version than the audit says. Exit code 5: the hook failed.
"""

from omegaconf import DictConfig

from sr_lab.commands._telling import complain
from sr_lab.config.call import called
from sr_lab.config.compose import build
from sr_lab.workflows.notify import HOOK_FAILED, notify


def run(cfg: DictConfig) -> int:
    """Tells of the champion of ``cfg.name``; silent where that went well."""
    failure = called(notify, cfg, hook=build(cfg.events)).failure
    if failure is None:
        return 0
    complain("notify", [failure])
    return HOOK_FAILED
