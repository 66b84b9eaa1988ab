"""Tables of numbers for the gate."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from sr_lab.promotion import ImageRow, Measurement

Tables = Callable[..., tuple[Measurement, Measurement]]


def make_measurement(
    model: str,
    values: Mapping[str, Sequence[float]],
    *,
    frames: int = 1,
    slices: Mapping[str, Sequence[int]] | None = None,
    resources: Mapping[str, Sequence[float]] | None = None,
    seen: frozenset[str] | None = frozenset(),
    holdout: str = "holdout-1",
) -> Measurement:
    """Image i belongs to scene i // frames; ``slices`` names images by index."""
    count = len(next(iter(values.values())))
    rows = [
        ImageRow(
            name=f"{i:03}",
            scene=f"s{i // frames:03}",
            slices=frozenset(name for name, members in (slices or {}).items() if i in members),
            metrics={key: float(column[i]) for key, column in values.items()},
        )
        for i in range(count)
    ]
    return Measurement(model=model, holdout=holdout, protocol="y_crop", rows=rows, resources=resources or {}, seen=seen)


@pytest.fixture(scope="session")
def measurement() -> Callable[..., Measurement]:
    return make_measurement


@pytest.fixture(scope="session")
def pair() -> Tables:
    """Candidate and champion whose psnr_y differs by ``gain`` on average, +- 0.03 dB from image to image."""

    def make(gain: float = 0.0, *, num_images: int = 40, frames: int = 1, **others: object) -> tuple[Measurement, ...]:
        random = np.random.default_rng(0)
        champion = 28 + 3 * random.standard_normal(num_images)
        noise = random.standard_normal(num_images)
        candidate = champion + gain + 0.03 * (noise - noise.mean())
        return (
            make_measurement("net/2", {"psnr_y": candidate.tolist()}, frames=frames, **others),
            make_measurement("net/1", {"psnr_y": champion.tolist()}, frames=frames, **others),
        )

    return make
