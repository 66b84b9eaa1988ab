"""Register the model of a finished run in MLflow's registry.

    srlab register run=runs/NAME name=MODEL

Makes a version of ``name`` from the run's model and points the alias at it: ``models:/NAME@ALIAS`` loads it. It
is whole: weights (safetensors), configuration, metadata with hashes, data version, commit and the images it was trained
and selected on; environment/ (packages, hardware); as tags the lineage and the test metrics; and a model card
(MODEL_CARD.md, also the version's description): intended use, training data, measured limits, a warning on invented
detail. So measure before: srlab evaluate ... run=runs/NAME. Registering the same model again makes no second version,
and writes the card anew. Fails, visibly, where the run is not finished, a file differs from its hash, or the store does
not answer.
"""

from omegaconf import DictConfig

from sr_lab.artefacts.artefact import Artefact
from sr_lab.commands._restorer import fetch_artefact
from sr_lab.tracking.registry.card import CARD, INTENDED_USE, RunFacts, model_card
from sr_lab.tracking.registry.versions import locate, register


def run(cfg: DictConfig) -> int:
    """Register ``cfg.run`` as ``cfg.name``."""
    uri, run_id = locate(str(cfg.run), uri=cfg.uri, default_uri=cfg.default_uri)
    artefact = fetch_artefact(f"runs:/{run_id}/{cfg.model}", tracking_uri=uri)

    def card(number: int, facts: RunFacts) -> str:
        return model_card(
            facts,
            title=f"{cfg.name}, version {number}",
            network=_described(artefact),
            metadata=artefact.metadata,
            intended_use=INTENDED_USE if cfg.intended_use is None else str(cfg.intended_use),
        )

    tags = {str(key): str(value) for key, value in cfg.tags.items()}
    version = register(uri, run_id, cfg.name, cfg.alias, tags, model=cfg.model, card=card)
    print(f"{version.name} version {version.number} is {version.uri} (run {run_id}); its card: {CARD}")
    return 0


def _described(artefact: Artefact) -> str:
    """The network in words."""
    network = artefact.network
    count = sum(parameter.numel() for parameter in network.parameters())
    channels = {1: "grey", 3: "RGB"}.get(network.num_channels, f"{network.num_channels} channels")
    return f"{type(network).__name__}, {count:,} parameters, enlarges {channels} pictures by {artefact.scale}."
