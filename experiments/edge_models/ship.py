"""Turns a trained network into the model that the package ships: branches collapsed, half the file, its history kept.

python experiments/edge_models/ship.py runs/edge_x4/best            writes sr_lab/models/edge_x4
"""

import argparse
import json
import os
from pathlib import Path

from sr_lab.artefacts.artefact import load_artefact, save_artefact
from sr_lab.artefacts.shipped import MODELS
from sr_lab.networks.ecbsr import ECBSR


def main() -> None:
    """Reads the arguments, writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefact", type=Path, help="folder of the trained network")
    parser.add_argument("--name", default="edge")
    given = parser.parse_args()
    artefact = load_artefact(given.artefact)
    network = artefact.network
    assert isinstance(network, ECBSR)
    config = json.loads(json.dumps(artefact.config).replace(os.environ.get("SR_LAB_SHARED", "../shared"), "../shared"))
    config["model"]["network"]["collapsed"] = True
    metadata = {**artefact.metadata, "collapsed_from": artefact.metadata["sha256"]["weights.safetensors"]}
    folder = save_artefact(
        MODELS / f"{given.name}_x{network.scale}", network.collapse(), config=config, metadata=metadata
    )
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {network.collapse().num_parameters} parameters, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
