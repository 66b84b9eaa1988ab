"""Write a network as ONNX, OpenVINO or ncnn files, or as a bundle that restores without PyTorch.

    srlab export restorer=edge output=exports/edge
    srlab export restorer=models:/NAME@champion target=bundle output=bundle web=.
    srlab export restorer=runs/NAME/best target=onnx precision=int8 output=int8 benchmark=Set5/x4
    srlab export restorer=runs/NAME/best target=ncnn precision=fp16 output=phone

The files are compared with PyTorch, timed, and described by OUTPUT/manifest.json: where they came from (the registry's
version, the hash of the weights), how far they are from it, and what they cost. int8 is judged image by image against
float: an export that loses more than it may is refused, and the message names the layers that have to stay in float.
A bundle holds the graph, the manifest and one file restore.py, which needs numpy, Pillow or OpenCV, and onnxruntime:

    python bundle/restore.py photo.jpg large.png

web=FOLDER, where  npm install onnxruntime-web  was run, adds a page that restores in a browser.
"""

from omegaconf import DictConfig

from sr_lab.config.call import called
from sr_lab.workflows.export import export


def run(cfg: DictConfig) -> int:
    """Exports what ``cfg`` names."""
    if cfg.size is not None and len(cfg.size) != 2:
        raise ValueError(f"size={list(cfg.size)}: give height and width, as [64,96], or null for any")
    done = called(export, cfg, name=cfg.restorer, size=None if cfg.size is None else tuple(cfg.size))
    print("\n".join([*done.lines, f"{cfg.target}, {cfg.precision}: {done.folder}"]))
    return 0
