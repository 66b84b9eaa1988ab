"""Register the model of a finished run in MLflow's registry.

    srlab register run=runs/NAME name=MODEL
    srlab register run=pretrained/realesrgan_x4plus name=MODEL
    srlab register run=exports/int8 name=MODEL

Makes a version of ``name`` from the run's model and points the alias at it: ``models:/NAME@ALIAS`` loads it. It
is whole: weights (safetensors), configuration, metadata with hashes, data version, commit and the images it was trained
and selected on; environment/ (packages, hardware); as tags the lineage and the test metrics; and a model card
(MODEL_CARD.md, also the version's description): intended use, training data, measured limits, a warning on invented
detail. So measure before: srlab evaluate ... run=runs/NAME. Registering the same model again makes no second version,
and writes the card anew. Public weights of the package index get a run of their own and a card that says what is
not known of them; a policy has to accept that. So does an export (target=onnx or bundle), whose version says what it
is an export of: the gate judges it like any candidate. Fails, before there is a version, where the run is not finished,
a file differs from its hash or is gone, the numbers or the folder are of other weights than the model's, or the store
does not answer. The aliases champion and previous are moved by srlab promote and rollback only.
"""

import sys

from omegaconf import DictConfig

from sr_lab.config.call import called
from sr_lab.workflows.register import Version, register


def run(cfg: DictConfig) -> int:
    """Registers ``cfg.run`` as ``cfg.name`` and tells the version."""
    version = call(cfg)
    print(f"{version.name} version {version.number} is {version.uri} (run {version.run_id}); its card: {version.card}")
    for caution in version.cautions:
        print(caution, file=sys.stderr)
    return 0


def call(cfg: DictConfig) -> Version:
    """Registers ``cfg.run`` as ``cfg.name``."""
    return called(register, cfg, tags={key: str(value) for key, value in cfg.tags.items()})
