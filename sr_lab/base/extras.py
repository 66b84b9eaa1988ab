"""Packages that are not installed with sr_lab alone, and by which of its extras they are."""

EXTRAS = {
    "av": "video",
    "cmaes": "sweep",
    "cryptography": "records",
    "cyclonedx": "sbom",
    "einops": "community",
    "fastapi": "serve",
    "httptools": "serve",
    "grpc": "grpc",
    "huey": "serve",
    "fpng": "codecs",
    "imagecodecs": "codecs",
    "imageio_ffmpeg": "vmaf",
    "isal": "codecs",
    "ncnn": "ncnn",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "opentelemetry": "otel",
    "optuna": "sweep",
    "pillow_heif": "codecs",
    "pillow_jxl": "codecs",
    "prometheus_client": "serve",
    "psycopg2": "postgres",
    "pyiqa": "iqa",
    "pynvml": "gpu",
    "python_multipart": "serve",
    "rapidfuzz": "tasks",
    "rapidocr": "tasks",
    "ray": "cluster",
    "redis": "redis",
    "spandrel": "community",
    "submitit": "cluster",
    "tensorboard": "tensorboard",
    "uvicorn": "serve",
    "uvloop": "serve",
    "wandb": "wandb",
    "zxingcpp": "tasks",
}


def remedy(module: str) -> str | None:
    """How a missing module is installed, as a sentence; None where it is no extra's.

    Args:
        module: The module's dotted name, as ``ModuleNotFoundError.name`` gives it.

    Example:
        >>> remedy("optuna.samplers")
        "optuna is not installed: pip install 'sr-lab[sweep]'"
    """
    package = module.partition(".")[0]
    return f"{package} is not installed: {install(package)}" if package in EXTRAS else None


def install(package: str) -> str:
    """The shell line that installs a package of an extra.

    Example:
        >>> install("ray")
        "pip install 'sr-lab[cluster]'"
    """
    return f"pip install 'sr-lab[{EXTRAS[package]}]'"
