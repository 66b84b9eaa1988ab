"""Smooth motion that is not rigid: displacement fields that vary over time, and their exact inverse."""

import numpy as np
import numpy.typing as npt
import torch

Points = npt.NDArray[np.float64]
"""(..., 2): x to the right and y down, in pixels."""
NUM_DRAWS = 15
_NUM_WAVES, _STEEP, _FASTEST = 3, 0.2, 0.4
_MOST_ITERATIONS, _ENOUGH = 40, 1e-7


class Waves:
    """Three plane waves whose phases run on: points are displaced by a few hundredths of the wave lengths.

    No wave changes the displacement by more than a fifth of a pixel a pixel, all of them together by less than .6: the
    field folds nowhere, and iteration finds its inverse.

    Args:
        draws: 15 numbers from 0 to 1.
        lengths: Shortest and longest wave, in pixels.

    Attributes:
        farthest: No point is displaced by more pixels.

    Example:
        >>> waves = Waves([0.3] * NUM_DRAWS, lengths=(16, 64))
        >>> points = np.array([[3.0, 5.0], [40.0, 7.0]])
        >>> bool(np.allclose(waves.back(waves.moved(points, 4), 4), points))
        True
    """

    def __init__(self, draws: list[float], *, lengths: tuple[float, float]) -> None:
        drawn = np.array(draws[:NUM_DRAWS], np.float64).reshape(_NUM_WAVES, -1)
        length = lengths[0] * (lengths[1] / lengths[0]) ** drawn[:, 0]
        angle, way = 2 * np.pi * drawn[:, 1], 2 * np.pi * drawn[:, 2]
        self.vectors = 2 * np.pi / length[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        self.amplitudes = _STEEP * length[:, None] / (2 * np.pi) * np.stack([np.cos(way), np.sin(way)], axis=-1)
        self.farthest = float(np.linalg.norm(self.amplitudes, axis=-1).sum())
        self.phases, self.rates = 2 * np.pi * drawn[:, 3], _FASTEST * (2 * drawn[:, 4] - 1)

    def displacement(self, points: Points, time: float) -> Points:
        """Of each point, (..., 2)."""
        angles = points @ self.vectors.T + (self.phases + self.rates * time)
        shift: Points = torch.from_numpy(angles).sin().numpy() @ self.amplitudes  # torch's sine is the faster one
        return shift

    def moved(self, points: Points, time: float) -> Points:
        """Where each point comes from in what is displaced."""
        return points + self.displacement(points, time)

    def back(self, points: Points, time: float) -> Points:
        """The points that ``moved`` brings to these, to less than a millionth of a pixel."""
        found = points
        for _ in range(_MOST_ITERATIONS):
            last, found = found, points - self.displacement(found, time)
            if np.abs(found - last).max(initial=0) < _ENOUGH:
                break
        return found
