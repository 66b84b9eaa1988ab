"""What ``import sr_lab`` offers: the verbs of the command line as functions, with the same words for the same things.

A setting of a command is a keyword here: ``srlab train experiment=E max_steps=100 optimizer.lr=1e-3`` is
``sr_lab.train("E", max_steps=100, **{"optimizer.lr": 1e-3})``. Names (``"realesrgan"``, ``"y_crop"``, ``"default"``)
are those of the files in ``conf/`` and in the tree that ``SRLAB_CONF`` adds.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
from torch import Tensor

from sr_lab.base.words import counted
from sr_lab.config.call import built, called
from sr_lab.config.compose import build, compose
from sr_lab.config.words import setting
from sr_lab.degradations.preset import SeededDegradation
from sr_lab.images.files import read_image, write_image
from sr_lab.images.forms import Image, as_tensor
from sr_lab.inference.pictures import PictureRestorer
from sr_lab.metrics.base import PerImageMetric
from sr_lab.metrics.protocol import Protocol
from sr_lab.promotion import Approval, Decision, ImageRow, Measurement, Policy, gate
from sr_lab.workflows.load import choose_device, load_restorer

if TYPE_CHECKING:
    from sr_lab.evaluation.scores import Scores
    from sr_lab.tasks.base import Task
    from sr_lab.workflows.compare import Comparison
    from sr_lab.workflows.register import Version
    from sr_lab.workflows.release import Release
    from sr_lab.workflows.restore import RestoredFolder
    from sr_lab.workflows.rollback import RolledBack
    from sr_lab.workflows.train import Run

Named = str | Path | PictureRestorer | Callable[[Tensor], Tensor]
"""A restorer by its name, as ``load`` gives it, or a callable on tensors (1, C, h, w) in [0, 1]."""
Metrics = Sequence[str | PerImageMetric]
_RESTORING = ("tile", "overlap", "tracking_uri", "seed", "num_steps", "self_ensemble", "consistency", "input_noise")

__all__ = [
    "Approval",
    "Decision",
    "ImageRow",
    "Measurement",
    "Policy",
    "compare",
    "degradation",
    "evaluate",
    "gate",
    "load",
    "lpips",
    "policy",
    "promote",
    "psnr",
    "read",
    "register",
    "restore",
    "rollback",
    "ssim",
    "train",
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
        **settings: ``engine`` (``auto`` is the fastest that is installed), ``tracking_uri``, ``tile``, ``overlap``,
            ``seed``, ``num_steps``, ``self_ensemble``; see ``sr_lab.workflows.load.load_restorer``.

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


def policy(name: str = "default", *, without: Sequence[str] = (), **settings: Any) -> Policy:
    """A promotion policy of ``conf/policy`` by its name.

    Args:
        name: ``default``, ``strict_medical``, ``fast_edge``, ``retrain``, ...
        without: Checks that are left out, by their keys.
        **settings: Settings by their dotted path below the policy, as ``{"checks.psnr.margin": 0.1}``.

    Raises:
        ConfigError: If there is no such policy, check or setting.

    Example:
        >>> import sr_lab
        >>> sr_lab.policy("default", alpha=0.01).alpha
        0.01
        >>> "latency" in sr_lab.policy("default", without=["latency", "memory"]).checks
        False
    """
    words = [setting("policy", name), "name=any", *(setting(f"policy.{key}", value) for key, value in settings.items())]
    words += [f"~policy.checks.{check}" for check in without]
    found: Policy = build(compose("promote", words).policy)
    return found


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


def evaluate(
    restorer: Named,
    benchmark: str | Path,
    *,
    scale: int,
    protocol: str | Protocol = "y_crop",
    metrics: Metrics = ("psnr", "ssim"),
    tasks: Sequence["str | Task"] = (),
    beside: Sequence[Named] = (),
    **settings: Any,
) -> "Scores":
    """Scores a restorer, beside bicubic, on every image of a benchmark.

    Args:
        restorer: A name as ``load`` takes it, what ``load`` gave, or any callable that maps a low image (1, C, h, w) in
            [0, 1] to the restored one.
        benchmark: Folder with ``HR/`` and ``LR/``, paired by name, or with originals.
        scale: Enlargement factor.
        protocol: What is compared with what: ``y_crop``, ``rgb_crop``, ... of ``conf/protocol``, or an object.
        metrics: Names of files in ``conf/metrics``, or objects; the first one ranks the images.
        tasks: What the images are good for: names of files in ``conf/tasks`` (``ocr``, ``barcode``, ``face``, ...), or
            objects. Their numbers are metrics like others, also measured of the input and of the original.
        beside: Further restorers, scored on the same images for the tables of tasks.
        **settings: ``degradation`` (a name), ``seed``, ``samples``, ``report`` (a folder), ``run`` (the folder of the
            run that made the weights), ``num_pictures``, ``device``, ``missing`` and others of ``srlab evaluate``.

    Returns:
        The table of scores: ``.table`` as a pandas DataFrame, ``.means`` by restorer and metric, ``.report(folder)``;
        ``.tasks`` is what tasks gain over bicubic, a DataFrame with intervals over scenes.

    Raises:
        ValueError: If folder, scale, protocol and metrics do not fit together, what a task reads with is not
            installed (``missing="skip"`` leaves it out), or two restorers have one name.

    Example:
        >>> import numpy as np, sr_lab
        >>> sr_lab.write("two/ramp.png", np.arange(48 * 48, dtype=np.uint16).reshape(48, 48).astype(np.uint8))
        >>> scores = sr_lab.evaluate("bicubic", "two", scale=2)
        >>> sorted(scores.means["bicubic"])
        ['psnr_y', 'ssim_y']
        >>> list(scores.table["image"])
        ['ramp']
        >>> sr_lab.write("faces/HR/grey.png", np.full((48, 48, 3), 128, np.uint8))  # a picture without a face
        >>> found = sr_lab.evaluate("bicubic", "faces", scale=2, tasks=["face"])
        >>> found.tasks[["metric", "source", "mean"]].values.tolist()
        [['face_precision', 'low', 1.0], ['face_precision', 'bicubic', 1.0], ['face_precision', 'original', 1.0]]
    """
    from sr_lab.workflows import evaluate as workflow

    report, run = settings.pop("report", None), settings.pop("run", None)
    names = [task for task in tasks if isinstance(task, str)]
    asked = _asked("evaluate", scale, protocol, metrics, benchmark=benchmark, tasks=names, **settings)
    live, name, metadata = _live(restorer, scale, asked)
    others = [_live(other, scale, asked)[:2] for other in beside]
    if twice := {one for place, (_, one) in enumerate(others) if one in [each for _, each in others[:place]]}:
        raise ValueError(f"beside: two restorers are called {min(twice)}: their results could not be told apart")
    return called(
        workflow.evaluate,
        asked,
        restorer=live,
        benchmark=benchmark,
        name=name,
        protocol=_protocol_of(asked, protocol),
        metrics=_metrics(metrics, asked),
        tasks={
            **(built(asked.tasks) if names else {}),
            **{f"object_{place}": task for place, task in enumerate(tasks) if not isinstance(task, str)},
        },
        beside={other: restores for restores, other in others},
        facts={} if metadata is None else {"tile": asked.tile, "overlap": asked.overlap},
        report=None if report is None else Path(report),
        run=None if run is None else Path(run),
    )


def compare(
    a: Named,
    b: Named,
    benchmark: str | Path,
    *,
    scale: int,
    protocol: str | Protocol = "y_crop",
    metrics: Metrics = ("psnr", "ssim"),
    **settings: Any,
) -> "Comparison":
    """Two restorers side by side on the same images: gains of the first one, with intervals over scenes.

    Args:
        a: The restorer in question, as for ``evaluate``.
        b: The one that it is held against.
        benchmark: As for ``evaluate``; images of one scene count once (``scenes.csv``, or a subfolder each).
        scale: Enlargement factor.
        protocol: What is compared with what.
        metrics: As for ``evaluate``.
        **settings: ``degradation``, ``seed``, ``alpha``, ``num_pictures``, ``device`` and others of ``srlab compare``.

    Returns:
        ``.scores`` is the table of both, ``.lines`` are means and gains by slice, ``.page`` is the page as HTML,
        ``.measurements`` are both as ``gate`` takes them.

    Raises:
        ValueError: If settings do not fit together, or an image can be scored on none.

    Example:
        >>> import numpy as np, sr_lab
        >>> sr_lab.write("two/ramp.png", np.arange(48 * 48, dtype=np.uint16).reshape(48, 48).astype(np.uint8))
        >>> def nearest(low):
        ...     return low.repeat_interleave(2, -1).repeat_interleave(2, -2)
        >>> found = sr_lab.compare(nearest, "bicubic", "two", scale=2, metrics=["psnr"])
        >>> found.scores.names
        ('nearest', 'bicubic')
        >>> [model.model for model in found.measurements]
        ['nearest', 'bicubic']
    """
    from sr_lab.workflows import compare as workflow

    asked = _asked("compare", scale, protocol, metrics, benchmark=benchmark, **settings)
    (first, one, _), (second, other, _) = (_live(restorer, scale, asked) for restorer in (a, b))
    return called(
        workflow.compare,
        asked,
        restorers={one: first, other: second} if one != other else {"a": first, "b": second},
        benchmark=benchmark,
        protocol=_protocol_of(asked, protocol),
        metrics=_metrics(metrics, asked),
        report=None,
    )


def train(experiment: str | None = None, **settings: Any) -> "Run":
    """Trains, or goes on where a stopped run was; see ``srlab train``.

    Args:
        experiment: A file of ``conf/experiment``; None trains what the settings say.
        **settings: Settings of ``srlab train`` by their name, dotted ones as ``**{"optimizer.lr": 1e-3}``.

    Returns:
        ``.directory``, ``.best`` (the artefact, for ``load``), ``.metrics`` at the best weights, ``.result``.

    Raises:
        ConfigError: If a setting does not exist; the message names the nearest one.
        ValueError: If the preflight finds that the run cannot work.

    Example:
        >>> import numpy as np, sr_lab
        >>> for split in ("train", "val"):
        ...     noise = np.random.default_rng(len(split)).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        ...     sr_lab.write(f"photos/{split}/noise.png", noise)
        >>> run = sr_lab.train(name="example", data="folder", max_steps=2, val_every=2, checkpoint_every=2,
        ...     tracking="none", pictures=0, **{"data.train.roots": "photos/train", "data.val.roots": "photos/val",
        ...     "data.crop": 16, "data.batch_size": 2, "model/network": "fsrcnn", "trainer.enable_progress_bar": False})
        >>> run.result.steps
        2
        >>> sr_lab.load(run.best)(np.zeros((6, 7, 3), np.uint8)).shape
        (12, 14, 3)
    """
    chosen = {} if experiment is None else {"experiment": experiment}
    done: Run = _call("train", **chosen, **settings)
    return done


def restore(input: str | Path, output: str | Path, restorer: str = "bicubic", **settings: Any) -> "RestoredFolder":
    """Enlarges every image of a folder or object store, each whole and once; see ``srlab restore``.

    Args:
        input: Folder, object store or file of the low images.
        output: Where the restored ones are put.
        restorer: A name as ``load`` takes it.
        **settings: ``scale`` (bicubic needs it), ``format``, ``device``, ``launcher`` and others of ``srlab restore``.

    Returns:
        How many images there are, and a message for each one that could not be restored.

    Example:
        >>> import numpy as np, sr_lab
        >>> sr_lab.write("low/grey.png", np.full((4, 6), 128, np.uint8))
        >>> sr_lab.restore("low", "large", "bicubic", scale=2).failures
        ()
        >>> sr_lab.read("large/grey.png").shape
        (8, 12, 1)
    """
    done: RestoredFolder = _call("restore", input=input, output=output, restorer=restorer, **settings)
    return done


def register(run: str | Path, name: str, **settings: Any) -> "Version":
    """Makes a version of a registered model from a finished run; see ``srlab register``.

    Args:
        run: The run's folder, or its id in the tracking store.
        name: The registered model; it is made if it does not exist.
        **settings: ``alias``, ``intended_use``, ``tags``, ``uri`` and others of ``srlab register``.

    Returns:
        The version: its number and its address ``models:/NAME/NUMBER``.

    Raises:
        ValueError: If run and model do not belong together, or the run did not finish; the message says which.

    Example:
        >>> import sr_lab
        >>> sr_lab.register("runs/missing", "photos")
        Traceback (most recent call last):
        ...
        ValueError: ...
    """
    version: Version = _call("register", run=run, name=name, **settings)
    return version


def promote(name: str, policy: str = "default", **settings: Any) -> "Release":
    """Measures candidate and champion on the policy's hold-out, lets the gate decide, and carries that out.

    Args:
        name: The registered model.
        policy: A file of ``conf/policy``.
        **settings: Settings of ``srlab promote``; the hold-out is ``**{"policy.holdout.photos.benchmark": FOLDER}``.

    Returns:
        The decision with its reasons, its record in the audit, and its page.

    Raises:
        ValueError: If there is no candidate, or its images cannot be measured.

    Example:
        >>> import sr_lab
        >>> sr_lab.promote("unheard_of")
        Traceback (most recent call last):
        ...
        ValueError: ...
    """
    done: Release = _call("promote", name=name, policy=policy, **settings)
    return done


def rollback(name: str, reason: str, **settings: Any) -> "RolledBack":
    """Makes the previous champion the champion again; see ``srlab rollback``.

    Args:
        name: The registered model.
        reason: Why, for the audit.
        **settings: ``tracking_uri``, ``events`` and others of ``srlab rollback``.

    Raises:
        SRLabError: If there is no previous champion, or the registry and the ledger disagree on who is champion.
        ValueError: The same, or if there is no such model, or no reason.

    Example:
        >>> import sr_lab
        >>> sr_lab.rollback("unheard_of", "text got worse")
        Traceback (most recent call last):
        ...
        ValueError: ...
    """
    done: RolledBack = _call("rollback", name=name, reason=reason, **settings)
    return done


@cache
def _lpips_metric(net: str, weights: str | None) -> Any:
    from sr_lab.metrics.lpips import LPIPSMetric

    return LPIPSMetric(net=net, weights=weights)  # type: ignore[arg-type]


def _measured(metric: Any, restored: Image, target: Image) -> float:
    import torch

    one, other = as_tensor(restored), as_tensor(target)
    if len(one) != 1 or len(other) != 1:
        raise ValueError(f"{len(one)} and {counted(len(other), 'image')}: give one each, and take the mean over images")
    with torch.inference_mode():
        return float(metric.per_image(one, other))


def _protocol(protocol: str | Protocol) -> Protocol:
    if isinstance(protocol, Protocol):
        return protocol
    words = [setting("protocol", protocol), "metrics=[psnr]", "restorer=bicubic", "benchmark=.", "scale=2", "report=."]
    found: Protocol = build(compose("evaluate", words).protocol)
    return found


def _asked(command: str, scale: int, protocol: Any, metrics: Metrics, **settings: Any) -> Any:
    """The checked configuration of an evaluation or a comparison."""
    words = {"scale": scale, "metrics": _named(metrics) or ["psnr"], "report": ".", **settings}
    words |= {"restorer": "bicubic"} if command == "evaluate" else {"a": "bicubic", "b": "bicubic"}
    if isinstance(protocol, str):
        words["protocol"] = protocol
    return compose(command, [setting(key, value) for key, value in words.items()])


def _protocol_of(asked: Any, protocol: str | Protocol) -> Protocol:
    """The protocol itself, where it was given by its name."""
    return protocol if isinstance(protocol, Protocol) else build(asked.protocol)


def _metrics(metrics: Metrics, asked: Any) -> dict[str, PerImageMetric]:
    """The named metrics in their order, then those that are objects."""
    named = built(asked.metrics) if _named(metrics) else {}
    return named | {f"object_{place}": m for place, m in enumerate(metrics) if isinstance(m, PerImageMetric)}


def _named(metrics: Metrics) -> list[str]:
    return [metric for metric in metrics if isinstance(metric, str)]


def _live(restorer: Named, scale: int, asked: Any) -> tuple[Any, str, Mapping[str, Any] | None]:
    """What restores tensors, what it is called, and what is known of it."""
    if isinstance(restorer, str | Path):
        own = {key: asked[key] for key in _RESTORING if key in asked}
        restorer = load(restorer, scale=scale, device=asked.device, degradation=build(asked.degradation), **own)
    if isinstance(restorer, PictureRestorer):
        return restorer.restorer, restorer.name, restorer.metadata
    return restorer, getattr(restorer, "__name__", type(restorer).__name__), getattr(restorer, "metadata", None)


def _call(command: str, **settings: Any) -> Any:
    """What ``srlab COMMAND`` does with these settings, as the workflow's result."""
    config = compose(command, [setting(key, value) for key, value in settings.items()])
    return import_module(f"sr_lab.commands.{command}").call(config)
