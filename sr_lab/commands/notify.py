"""Run a hook once more for the last change of the champion, for a deployment that missed it.

    srlab notify name=NAME events.command="./deploy.sh"

The hook gets the facts of the last promotion or rollback, as it did right after it (conf/events/hook.yaml). Fails where
the champion is another version than the audit says. Exit code 5: the hook failed.
"""

from omegaconf import DictConfig

from sr_lab.config.compose import build
from sr_lab.tracking.registry.aliases import CHAMPION, aliases, history
from sr_lab.tracking.registry.events import fire
from sr_lab.tracking.registry.ledger import last_change


def run(cfg: DictConfig) -> int:
    """Tell of the champion of ``cfg.name``."""
    name, hook = str(cfg.name), build(cfg.events)
    change = last_change(history(cfg.tracking_uri, name))
    if change is None:
        raise ValueError(f"{name} has had no champion yet: there is nothing to tell")
    champion = aliases(cfg.tracking_uri, name).get(CHAMPION)
    if champion != change.target:
        found = "gone" if champion is None else f"version {champion}"
        raise ValueError(
            f"{name}: the champion is {found}, the last record says {change.target}: see srlab history name={name}"
        )
    return fire(hook, change, name=name, uri=cfg.tracking_uri)
