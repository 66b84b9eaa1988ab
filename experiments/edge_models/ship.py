"""Turns a trained network into the model that the package ships: branches collapsed where it has any, history kept.

python experiments/edge_models/ship.py runs/edge_x4/best            writes sr_lab/models/edge_x4
srlab evaluate restorer=edge_x4 benchmark=Set5/x4 scale=4 report=OUT
python experiments/edge_models/ship.py runs/edge_x4/best --reports OUT ...       with its MODEL_CARD.md
python experiments/edge_models/ship.py runs/base_x4/best --name base --reports OUT ...
python experiments/edge_models/ship.py runs/clip_x4/best --name clip --reports OUT ...
"""

import argparse
import json
import os
import platform
from pathlib import Path

from sr_lab.artefacts.artefact import load_artefact, save_artefact
from sr_lab.artefacts.shipped import MODELS
from sr_lab.base.provenance import hardware
from sr_lab.networks.ecbsr import ECBSR
from sr_lab.networks.span import SPAN
from sr_lab.tracking.evaluations import Evaluation, name_of
from sr_lab.tracking.registry.card import RunFacts, model_card


def main() -> None:
    """Reads the arguments, writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefact", type=Path, help="folder of the trained network")
    parser.add_argument("--name", default="edge")
    parser.add_argument("--reports", type=Path, nargs="*", default=[], help="folders that srlab evaluate has written")
    given = parser.parse_args()
    artefact = load_artefact(given.artefact)
    network = artefact.network
    config = json.loads(json.dumps(artefact.config).replace(os.environ.get("SR_LAB_SHARED", "../shared"), "../shared"))
    metadata = {**artefact.metadata}
    if isinstance(network, ECBSR | SPAN):
        network = network.collapse()
        config["model"]["network"]["collapsed"] = True
        metadata["collapsed_from"] = artefact.metadata["sha256"]["weights.safetensors"]
    folder = save_artefact(MODELS / f"{given.name}_x{network.scale}", network, config=config, metadata=metadata)
    measured = [read_report(report / "summary.json") for report in given.reports]
    card = model_card(
        RunFacts(run_id=folder.name, tags=_machine(), benchmarks=measured),
        title=folder.name,
        artefact=load_artefact(folder),
    )
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {network.num_parameters} parameters, {size / 1000:.0f} kB")


def _machine() -> dict[str, str]:
    """This machine, which is the one that trained."""
    found = hardware()
    return {"env.python": platform.python_version(), "env.platform": platform.system(), "env.cpu": str(found["cpu"]),
            "env.gpu": "none"}  # fmt: skip


def read_report(file: Path) -> Evaluation:
    """The means of a report, and how much they are above bicubic's."""
    summary = json.loads(file.read_text())
    means = {key: summary[key] for key in summary["bicubic"]}
    gains = {f"gain_{key}": value for key, value in summary["gain"].items()}
    name = name_of(Path(summary["benchmark"]), summary["scale"])
    return Evaluation(name=name, protocol=summary["protocol"], means={**means, **gains})


if __name__ == "__main__":
    main()
