"""An export as an artefact: its graph is the network, and its history that of what was exported."""

from pathlib import Path

from sr_lab.artefacts.artefact import Artefact
from sr_lab.artefacts.export.graphs import ONNX
from sr_lab.artefacts.export.manifest import read_manifest
from sr_lab.artefacts.folder import WEIGHTS
from sr_lab.networks.graph.network import GraphNetwork, GraphStep


def load_export(folder: Path) -> Artefact:
    """The network of an export's ONNX graph, with the lineage of what was exported.

    Raises:
        ValueError: if it holds files of another runtime, or a file is not the one that was exported.
    """
    manifest = read_manifest(folder)
    if manifest["target"] not in ("onnx", "bundle"):
        raise ValueError(
            f"{folder} holds files of {manifest['target']}, which srlab does not restore by: give an export of "
            "target=onnx or bundle"
        )
    size, cost, source = manifest["size"], manifest["cost"], manifest["source"]
    step = manifest.get("step")
    kind, more = (GraphStep, {"flow_enlarge": step["flow_enlarge"]}) if step else (GraphNetwork, {})
    network = kind.of(
        (folder / ONNX).read_bytes(),
        scale=manifest["scale"],
        num_channels=manifest["channels"],
        size=size,
        work=(cost["parameters"], cost["flops_per_pixel"]),
        **more,
    )
    node = {
        "_target_": f"sr_lab.networks.graph.network.{kind.__name__}",
        "scale": network.scale,
        "num_channels": network.num_channels,
        "num_bytes": network.graph.numel(),
        "size": size,
        "work": list(network.work or ()),
        **network.more,
    }
    metadata = {
        **{key: source[key] for key in ("data_version", "protocol", "perceptual_backbones") if key in source},
        "images": manifest["images"],
        "parents": [{"name": source["name"], "weights": source["weights"]}],
        "registry": source["registry"],
        "precision": manifest["precision"],
        "sha256": {WEIGHTS: manifest["files"][ONNX]},
    }
    if "unknown_history" in source:
        metadata["unknown_history"] = source["unknown_history"]
    return Artefact(network, {"model": {"network": node}}, metadata)
