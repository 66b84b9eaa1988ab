"""Public weights: a file that others have trained becomes an artefact."""

from pathlib import Path

from sr_lab.artefacts.artefact import Artefact
from sr_lab.networks.community import load_community

SUFFIXES = {".pth", ".pt", ".safetensors"}


def load_public(path: Path, *, scale: int | None = None) -> Artefact:
    """The network of a file of public weights, with nothing known of its training.

    Raises:
        ValueError: If the file holds anything but weights, or no architecture is known that they are of.
    """
    network = load_community(path=str(path)).eval()
    return Artefact(network, {"model": {"network": network.config}}, {"weights": str(path)})
