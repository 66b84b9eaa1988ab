"""The same draws and pixels in workers, forked or spawned, as in the process itself."""

import hashlib

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from sr_lab.degradations.blur import Blur
from sr_lab.degradations.compression import Jpeg
from sr_lab.degradations.noise import GaussianNoise, PoissonNoise
from sr_lab.degradations.pipeline import Choice, Pipeline
from sr_lab.degradations.resize import RandomResize, ResizeTo


class Crops(Dataset):
    """Sample k is degraded by the draw of (seed 3, epoch 1, index k)."""

    def __init__(self) -> None:
        noise = {"gauss": GaussianNoise(sigma=[1, 20]), "photons": PoissonNoise(strength=[0.1, 2])}
        self.pipeline = Pipeline(
            ops={
                "blur": Blur(kinds={"isotropic": 1, "plateau_anisotropic": 1}, probability=0.7),
                "resize": RandomResize(factor=[0.5, 1.5], modes={"area": 1, "cubic": 1}),
                "noise": Choice(ops=noise),
                "jpeg": Jpeg(quality=[30, 90]),
                "back": ResizeTo(scale=4, modes={"area": 1, "lanczos": 1}),
            }
        )

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[str, str]:
        high = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(index))
        params = self.pipeline.draw_keyed([(3, 1, index)])
        drawn = repr(sorted((name, values.tolist()) for name, values in params.items()))
        low = self.pipeline.apply(high, params)
        return drawn, hashlib.sha256(low.numpy().tobytes()).hexdigest()


@pytest.mark.parametrize(("method", "counts"), [("fork", (1, 2)), ("spawn", (1,))])
def test_workers_give_what_the_process_gives(method: str, counts: tuple[int, ...]) -> None:
    crops = Crops()
    expected = [crops[index] for index in range(len(crops))]
    assert len({drawn for drawn, _ in expected}) == len(expected)
    for workers in counts:
        loader = DataLoader(crops, batch_size=None, num_workers=workers, multiprocessing_context=method)
        assert list(map(tuple, loader)) == expected
