"""What ``import sr_lab`` offers: the verbs of the command line as functions, with the same words for the same things.

A setting of a command is a keyword here: ``srlab train experiment=E max_steps=100 optimizer.lr=1e-3`` is
``sr_lab.train("E", max_steps=100, **{"optimizer.lr": 1e-3})``. Names (``"realesrgan"``, ``"y_crop"``, ``"default"``)
are those of the files in ``conf/`` and in the tree that ``SRLAB_CONF`` adds.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy.typing as npt
from torch import Tensor

from sr_lab.config.compose import build, compose
from sr_lab.config.words import setting
from sr_lab.degradations.preset import SeededDegradation
from sr_lab.images.files import read_image, write_image
from sr_lab.images.forms import Image, as_tensor
from sr_lab.inference.pictures import PictureRestorer
from sr_lab.metrics.protocol import Protocol
from sr_lab.promotion import Approval, Decision, Measurement, Policy, gate
from sr_lab.workflows.load import choose_device, load_restorer

__all__ = [
    "Approval",
    "Decision",
    "Measurement",
    "Policy",
    "degradation",
    "gate",
    "lpips",
    "policy",
    "psnr",
    "read",
    "ssim",
    "write",
]


def read(path: str | Path) -> npt.NDArray[Any]:
    """Reads an image file: PNG, JPEG, WebP, TIFF or BMP, upright, at its own depth.

    Args:
        path: The file.

    Returns:
        (H, W, C) of uint8 or uint16; C is 1 for grey, 3 for RGB, more for the bands of a TIFF file.

    Raises:
        ImageError: If the file is missing, damaged, or no image.

    Example:
        >>> import numpy as np, tempfile, sr_lab
        >>> file = tempfile.mkdtemp() + "/grey.png"
        >>> sr_lab.write(file, np.arange(12, dtype=np.uint8).reshape(3, 4))
        >>> sr_lab.read(file).shape
        (3, 4, 1)
    """
    return read_image(path)


def write(path: str | Path, image: npt.NDArray[Any] | Tensor) -> None:
    """Writes an image in the format of the suffix; the file appears whole or not at all.

    Args:
        path: The file; missing folders are made.
        image: (H, W, C) or (H, W) of uint8 or uint16, or a tensor (1, C, H, W) or (C, H, W) in [0, 1], which is
            rounded to 8 bits.

    Raises:
        ImageError: If the format cannot hold the image.

    Example:
        >>> import tempfile, torch, sr_lab
        >>> sr_lab.write(tempfile.mkdtemp() + "/white.png", torch.ones(3, 4, 4))
    """
    write_image(path, as_tensor(image) if isinstance(image, Tensor) else image)


def degradation(name: str, *, scale: int = 4, **settings: Any) -> SeededDegradation:
    """A degradation of ``conf/degradation`` by its name.

    Args:
        name: ``bicubic``, ``bsrgan``, ``realesrgan``, ``document``, ...
        scale: High side divided by low side.
        **settings: Settings of the preset by their dotted path below it.

    Returns:
        A callable with a seed; it draws, applies, records and replays.

    Raises:
        ConfigError: If there is no such preset or setting; the message names the nearest one.

    Example:
        >>> import numpy as np, sr_lab
        >>> degrade = sr_lab.degradation("realesrgan", scale=4)
        >>> photo = np.full((64, 64, 3), 128, np.uint8)
        >>> low = degrade(photo, seed=7)
        >>> low.shape
        (16, 16, 3)
        >>> records = degrade.record(degrade.draw(seed=7))
        >>> bool((degrade.replay(photo, records) == low).all())
        True
    """
    words = [setting("degradation", name), setting("scale", scale), "output=."]
    words += [setting(f"degradation.{key}", value) for key, value in settings.items()]
    return SeededDegradation(build(compose("degrade", words).degradation))


def load(name: str | Path, *, scale: int | None = None, device: str = "auto", **settings: Any) -> PictureRestorer:
    """A restorer by its name: it takes a path, an array or a tensor, and gives the enlarged image in that form.

    Args:
        name: ``bicubic``; an artefact's folder, as ``runs/NAME/best``; a checkpoint; ``models:/NAME@ALIAS``,
            ``models:/NAME/VERSION`` or ``runs:/RUN/model``; or a file of public weights.
        scale: Enlargement factor that is wanted; None takes the network's own. Bicubic needs it.
        device: ``auto``, ``cpu`` or ``cuda``.
        **settings: ``tracking_uri``, ``tile``, ``overlap``, ``seed``, ``num_steps``, ``self_ensemble``; see
            ``sr_lab.workflows.load.load_restorer``.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If it enlarges by another factor, the store does not know it, or a file is not what was saved.

    Example:
        >>> import numpy as np, sr_lab
        >>> bicubic = sr_lab.load("bicubic", scale=4)
        >>> bicubic(np.zeros((10, 12, 3), np.uint8)).shape
        (40, 48, 3)
    """
    chosen = choose_device(device)
    return PictureRestorer(
        load_restorer(str(name), scale=scale, device=chosen, **settings), name=str(name), device=chosen
    )


def policy(name: str = "default", **settings: Any) -> Policy:
    """A promotion policy of ``conf/policy`` by its name.

    Args:
        name: ``default``, ``strict_medical``, ``fast_edge``, ``retrain``, ...
        **settings: Settings by their dotted path below the policy, as ``{"checks.psnr.margin": 0.1}``.

    Raises:
        ConfigError: If there is no such policy or setting.

    Example:
        >>> import sr_lab
        >>> sr_lab.policy("default", alpha=0.01).alpha
        0.01
    """
    words = [setting("policy", name), "name=any", *(setting(f"policy.{key}", value) for key, value in settings.items())]
    built: Policy = build(compose("promote", words).policy)
    return built


def psnr(restored: Image, target: Image, *, protocol: str | Protocol = "y_crop", scale: int) -> float:
    """Peak signal-to-noise ratio of one image under a protocol, in decibels.

    Args:
        restored: The restored image: a path, an array (H, W, C) of uint8 or uint16, or a tensor in [0, 1].
        target: Its original, of the same size.
        protocol: What is compared: ``y_crop``, ``rgb_crop``, ... of ``conf/protocol``, or an object.
        scale: Enlargement factor, which sets the border.

    Returns:
        Decibels; ``inf`` where what is compared is equal.

    Raises:
        ValueError: If the sizes differ, or the protocol has no use for the channels.

    Example:
        >>> import numpy as np, sr_lab
        >>> one = np.full((32, 32, 3), 100, np.uint8)
        >>> round(sr_lab.psnr(one, one + 1, protocol="rgb_crop", scale=2), 2)
        48.13
    """
    from sr_lab.metrics.psnr import PSNR

    return _measured(PSNR(protocol=_protocol(protocol), scale=scale), restored, target)


def ssim(restored: Image, target: Image, *, protocol: str | Protocol = "y_crop", scale: int) -> float:
    """Structural similarity of one image under a protocol (Wang et al. 2004), at most 1.

    Args:
        restored: The restored image, as for ``psnr``.
        target: Its original, of the same size.
        protocol: What is compared.
        scale: Enlargement factor, which sets the border.

    Raises:
        ValueError: If the sizes differ, or fewer than 11 x 11 pixels remain.

    Example:
        >>> import numpy as np, sr_lab
        >>> ramp = np.arange(40 * 40 * 3, dtype=np.uint8).reshape(40, 40, 3)
        >>> sr_lab.ssim(ramp, ramp, scale=2)
        1.0
    """
    from sr_lab.metrics.ssim import SSIM

    return _measured(SSIM(protocol=_protocol(protocol), scale=scale), restored, target)


def lpips(restored: Image, target: Image, *, net: str = "alex", weights: str | Path | None = None) -> float:
    """Learned perceptual distance of one image (Zhang et al. 2018, v0.1), 0 where the two are equal.

    The images are rounded to 8 bits and compared whole. The network is built at the first call and kept.

    Args:
        restored: The restored image, as for ``psnr``: grey or RGB, at least 32 x 32.
        target: Its original, of the same size.
        net: ``alex``, ``vgg`` or ``squeeze``.
        weights: File or folder of the network's weights; by default ``SRLAB_WEIGHTS`` or torchvision's cache.

    Raises:
        MissingWeights: If the weights are not there; ``srlab weights fetch=alex`` brings them.
        ValueError: If the sizes differ or are too small.
    """
    return _measured(_lpips_metric(net, None if weights is None else str(weights)), restored, target)


_LPIPS: dict[tuple[str, str | None], Any] = {}


def _lpips_metric(net: str, weights: str | None) -> Any:
    from sr_lab.metrics.lpips import LPIPSMetric

    key = (net, weights)
    if key not in _LPIPS:
        _LPIPS[key] = LPIPSMetric(net=net, weights=weights)  # type: ignore[arg-type]
    return _LPIPS[key]


def _measured(metric: Any, restored: Image, target: Image) -> float:
    import torch

    one, other = as_tensor(restored), as_tensor(target)
    if len(one) != 1 or len(other) != 1:
        raise ValueError(f"{len(one)} and {len(other)} images: give one each, and take the mean over images")
    with torch.inference_mode():
        return float(metric.per_image(one, other))


def _protocol(protocol: str | Protocol) -> Protocol:
    if isinstance(protocol, Protocol):
        return protocol
    words = [setting("protocol", protocol), "metrics=[psnr]", "restorer=bicubic", "benchmark=.", "scale=2", "report=."]
    built: Protocol = build(compose("evaluate", words).protocol)
    return built


def _call(command: str, **settings: Any) -> Any:
    """What ``srlab COMMAND`` does with these settings, as the workflow's result."""
    config = compose(command, [setting(key, value) for key, value in settings.items()])
    return import_module(f"sr_lab.commands.{command}").call(config)
