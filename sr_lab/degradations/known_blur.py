"""Blur by one kernel that is known: measured or estimated elsewhere, or a Gaussian turned by an angle."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from sr_lab.base.randomness import upload
from sr_lab.degradations import kernels
from sr_lab.degradations.blur import filter_array, filter_canvas
from sr_lab.degradations.canvas import Canvas
from sr_lab.degradations.operation import Array, Columns, Operation, Sample, Size

_LARGEST = 255


class _KnownBlur(Operation):
    """Every sample blurred by ``window``, (K, K) float32 that sums to 1; the border is that of ``filter_array``."""

    deterministic = True

    @property
    @abstractmethod
    def window(self) -> npt.NDArray[np.float32]:
        """The kernel."""

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) blurred; overshoot is cut to [0, 1]."""
        blurred = filter_array(image, self.window)
        return np.clip(blurred, 0, 1, out=blurred)

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch blurred; equals ``degrade`` up to 0.0003."""
        taps = upload(np.repeat(self.window[None], len(canvas.sizes), axis=0), canvas.pixels.device)
        blurred = filter_canvas(canvas, taps)
        return blurred.with_pixels(blurred.pixels.clamp(0, 1))


class KernelBlur(_KnownBlur):
    """Blurs every sample by a kernel that is given as numbers: a camera's that was measured, an estimate, DIV2KRK's.

    Args:
        kernel: Rows of numbers, as many of them as each holds, an odd count (the first row is the topmost, applied as a
            correlation); or a file of them: ``.npy``, or text with one row a line. Divided by its sum.

    Raises:
        ValueError: if the kernel is not square, of even or too large a size, holds a value that is no number, or sums
            to nothing.
        FileNotFoundError: if there is no such file.

    Example:
        >>> import torch
        >>> blur = KernelBlur(kernel=[[0, 0, 0], [0, 1, 1], [0, 0, 0]])
        >>> blur.apply(torch.tensor([[[[0.0, 1.0, 0.0, 0.0]]]]), {}).tolist()
        [[[[0.5, 0.5, 0.0, 0.0]]]]
    """

    def __init__(self, *, kernel: Sequence[Sequence[float]] | str) -> None:
        super().__init__()
        what = f"kernel={kernel}" if isinstance(kernel, str) else "kernel"
        try:
            rows = np.array(_read(Path(kernel)) if isinstance(kernel, str) else list(kernel), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{what}: rows of numbers are needed, each as long as the others") from error
        if rows.ndim != 2 or rows.shape[0] != rows.shape[1] or rows.shape[0] % 2 == 0 or rows.shape[0] > _LARGEST:
            raise ValueError(
                f"{what} is {' x '.join(map(str, rows.shape))}: a square of an odd size up to {_LARGEST} is needed"
            )
        if not np.isfinite(rows).all() or abs(rows.sum()) < 1e-6:
            raise ValueError(f"{what}: finite numbers that sum to more than 0 are needed")
        self.kernel = rows.tolist()
        self._window: npt.NDArray[np.float32] = (rows / rows.sum()).astype(np.float32)

    @property
    def window(self) -> npt.NDArray[np.float32]:
        """The kernel, summing to 1."""
        return self._window


class TurnedGaussian(_KnownBlur):
    """Blurs every sample by one Gaussian with two standard deviations, turned by an angle.

    Args:
        sigma_x: Standard deviation along its first axis, in pixels.
        sigma_y: Standard deviation across it.
        theta: Angle of the first axis, in radians from x (to the right) towards y (downwards).
        size: Odd size of the kernel, in pixels.

    Raises:
        ValueError: if a standard deviation is not above 0, or the size is even or too large.

    Example:
        >>> import torch
        >>> blur = TurnedGaussian(sigma_x=3.0, sigma_y=0.8, theta=0.6, size=15)
        >>> blur.apply(torch.full((1, 3, 8, 8), 0.5), {}).mean().item()
        0.5
    """

    def __init__(self, *, sigma_x: float, sigma_y: float, theta: float = 0.0, size: int = 21) -> None:
        super().__init__()
        for name, value in (("sigma_x", sigma_x), ("sigma_y", sigma_y)):
            if not 1e-3 <= value <= 1e3:
                raise ValueError(f"{name}={value}: must lie in 0.001..1000 pixels")
        if not np.isfinite(theta):
            raise ValueError(f"theta={theta}: an angle in radians is needed")
        if size % 2 == 0 or not 1 <= size <= _LARGEST:
            raise ValueError(f"size={size}: an odd size of 1..{_LARGEST} is needed, so that the kernel has a centre")
        self.sigma_x, self.sigma_y, self.theta, self.size = sigma_x, sigma_y, theta, size
        shape = (torch.tensor([value], dtype=torch.float64) for value in (sigma_x, sigma_y, theta))
        self._window: npt.NDArray[np.float32] = kernels.gaussian(size, *shape)[0].float().numpy()

    @property
    def window(self) -> npt.NDArray[np.float32]:
        """The kernel, summing to 1."""
        return self._window


def _read(file: Path) -> npt.NDArray[np.float64]:
    if not file.is_file():
        raise FileNotFoundError(f"kernel={file}: no such file")
    if file.suffix == ".npy":
        loaded: npt.NDArray[np.float64] = np.load(file, allow_pickle=False).astype(np.float64)
        return loaded
    text = file.read_text(encoding="utf-8").replace(",", " ")
    return np.array([[float(value) for value in line.split()] for line in text.splitlines() if line.strip()])
