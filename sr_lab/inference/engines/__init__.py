"""What runs a network on a CPU: PyTorch, ONNX Runtime, OpenVINO or ncnn, one file each."""

from sr_lab.inference.engines.base import Engine, UnfitEngine
from sr_lab.inference.engines.choose import ENGINES, Choice, EngineName, choose_engine, make_engine
from sr_lab.inference.engines.network import EngineNetwork

__all__ = [
    "ENGINES",
    "Choice",
    "Engine",
    "EngineName",
    "EngineNetwork",
    "UnfitEngine",
    "choose_engine",
    "make_engine",
]
