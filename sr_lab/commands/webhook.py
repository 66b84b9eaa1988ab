"""Have an MLflow server tell a receiver about every change of an alias, without any command of ours running.

    srlab webhook tracking_uri=https://mlflow.example.org url=https://deploy.example.org/model

Sets up MLflow's webhook for the events ``model_version_alias.created`` and ``.deleted`` (name, alias, version; of all
models, so the receiver picks its own) and has the server send a trial message. The server signs what it sends with the
secret in SRLAB_WEBHOOK_SECRET. Needs an administrator where the server has accounts. Without a server: events=hook.
"""

from omegaconf import DictConfig

from sr_lab.config.call import called
from sr_lab.workflows.notify import subscribe


def run(cfg: DictConfig) -> int:
    """Sets up the webhook ``cfg.label`` and tells how the receiver answered."""
    status = called(subscribe, cfg)
    told = f"every change of an alias goes to {cfg.url}; a trial message was answered with {status}"
    print(f"webhook {cfg.label}: {told}")
    return 0
