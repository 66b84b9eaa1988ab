"""Plain convolution networks as lists of layers, written as ONNX and as ncnn's files: no exporter, no converter."""

from sr_lab.networks.graph.plain import Layer, NotPlain, Plain, plain_layers

__all__ = ["Layer", "NotPlain", "Plain", "plain_layers"]
