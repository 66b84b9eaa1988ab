"""Any metric of the package pyiqa, where it is installed; its weights are never downloaded behind one's back."""

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor

from sr_lab.base.extras import install
from sr_lab.images import to_uint8
from sr_lab.metrics.base import PerImageMetric
from sr_lab.metrics.protocol import Protocol


class PyIQA(PerImageMetric):
    """Mean per-image value of a metric of pyiqa (IQA-PyTorch) on the whole 8-bit images.

    Args:
        metric: Its name there: ``vif``, ``fsim``, ``piqe``, ``musiq``, ...
        weights: Its weights' file, which pyiqa would download; None where it has none (``vif``, ``fsim``, ``gmsd``,
            ``vsi``, ``nlpd``, ``mad``, ``ms_ssim``, ``cw_ssim``, ``piqe``), or where they lie in pyiqa's own cache.
        missing: What happens where package or weights are missing: ``error`` or ``skip``.

    Raises:
        ValueError: if pyiqa has no such metric, or with ``missing="error"`` where something is missing.
    """

    def __init__(
        self, *, metric: str, weights: str | Path | None = None, missing: Literal["error", "skip"] = "error"
    ) -> None:
        super().__init__()
        self.name = metric
        self.reason: str | None = None
        self._network: tuple[Any, ...] = ()
        if find_spec("pyiqa") is None:
            self.reason = f"pyiqa is not installed: {install('pyiqa')}"
        elif weights is not None and not Path(weights).is_file():
            self.reason = f"there is no file {weights}: give the weights of pyiqa's {metric} as weights=FILE"
        else:
            try:
                network = _made(metric, weights)
            except _Missing as error:
                self.reason = str(error)
            else:
                self.higher_is_better = not network.lower_better  # type: ignore[misc]
                self._network = (network.eval(),)
        if self.reason is not None and missing == "error":
            raise ValueError(f"{self.key}: {self.reason}; missing=skip leaves it out and says so")

    higher_is_better = True

    @property
    def key(self) -> str:
        """``pyiqa_`` and the metric's name."""
        return f"pyiqa_{self.name}"

    def unavailable(self, protocol: Protocol) -> str | None:
        """What is missing."""
        return self.reason

    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """(B,) values; of a metric without an original ``target`` is not looked at."""
        network = self._network[0].to(restored.device)
        pair = [to_uint8(image).float() / 255 for image in (restored, target)]
        with torch.no_grad():
            value = network(*pair) if network.metric_mode == "FR" else network(pair[0])
        return torch.as_tensor(value).flatten().double()


_ALL = f"{install('pyiqa')} brings all of them"


class _Missing(Exception):
    """Something that a metric needs is not there."""


def _made(metric: str, weights: str | Path | None) -> Any:
    """The metric on the CPU, of what is at hand."""
    own = {} if weights is None else {"pretrained_model_path": str(weights)}
    try:
        with _without_downloads(metric), redirect_stdout(StringIO()):
            import pyiqa
            from pyiqa.default_model_configs import DEFAULT_CONFIGS

            if metric not in DEFAULT_CONFIGS:
                raise ValueError(f"metric={metric}: pyiqa has none of this name; pyiqa.list_models() names them")
            return pyiqa.create_metric(metric, device=torch.device("cpu"), **own)
    except ModuleNotFoundError as error:
        raise _Missing(f"pyiqa's {metric} needs the package {error.name}: {_ALL}") from error
    except KeyError as error:  # it left out a module that could not be imported
        raise _Missing(f"pyiqa's {metric} needs packages that are not installed ({error.args[0]}): {_ALL}") from error
    except OSError as error:  # of Hugging Face's hub, which names what it would have downloaded
        raise _Missing(f"pyiqa's {metric} needs weights that are not at hand: {error}") from error
    except TypeError as error:
        raise ValueError(f"weights={weights}: pyiqa's {metric} takes none: leave them out ({error})") from error


@contextmanager
def _without_downloads(metric: str) -> Iterator[None]:
    """Within it whatever would fetch a file says which instead."""

    def refuse(request: Any, *_: Any, **__: Any) -> NoReturn:
        url = getattr(request, "full_url", request)
        raise _Missing(
            f"pyiqa's {metric} needs weights that are not at hand: fetch {url} and give the file as "
            "metrics.pyiqa.weights=FILE, or lay it into pyiqa's cache"
        )

    places = [(torch.hub, "urlopen", refuse), (urllib.request, "urlopen", refuse)]
    if find_spec("huggingface_hub") is not None:
        from huggingface_hub import constants

        places.append((constants, "HF_HUB_OFFLINE", True))  # type: ignore[arg-type]
    before = [getattr(place, name) for place, name, _ in places]
    try:
        for place, name, value in places:
            setattr(place, name, value)
        yield
    finally:
        for (place, name, _), value in zip(places, before, strict=True):
            setattr(place, name, value)
