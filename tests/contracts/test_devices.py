"""What is written for a GPU, followed on a make-believe one: tensors that have a device and no numbers.

Two tensors on different devices, or a number that the host would have to wait for, are errors there as on the real one.
Codecs, bursts, DIS flow and albumentations run on the host by design; gradients need the real device, and are left out
here.
"""

from collections.abc import Iterator

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sr_lab.base import randomness
from sr_lab.config.compose import compose
from sr_lab.config.tree import config_dir
from sr_lab.degradations import poisson
from sr_lab.degradations.kornia import Kornia
from sr_lab.degradations.operation import as_operation

ON_HOST = {"burst", "realbasicvsr", "video"}
PRESETS = sorted({file.stem for file in (config_dir() / "degradation").glob("*.yaml")} - ON_HOST)
NEEDS_MORE = {"distilled", "pmrf", "pruned", "student"}  # files of weights
EXPERIMENTS = sorted(
    {file.stem for file in (config_dir() / "experiment").glob("*.yaml") if not NEEDS_MORE & set(file.stem.split("_"))}
    - {"recurrent_gan_x4_clips"}  # its critic searches flow (DIS), on the host
)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    """Memory cannot be pinned without a driver; tables that were put on the device are forgotten afterwards."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    yield FakeTensorMode(allow_non_fake_inputs=True)
    randomness.device_normal_table.cache_clear()
    poisson._device_table.cache_clear()


def test_a_transform_of_kornia_stays_on_the_device(device: FakeTensorMode) -> None:
    op = Kornia(
        transform="kornia.augmentation.RandomMotionBlur", arguments={"kernel_size": 5, "angle": 30.0, "direction": 0.5}
    )
    columns = op.checked(op.draw_keyed([(0, 0, index) for index in range(2)]), 2)
    with device:
        assert op.apply_canvas(torch.empty(2, 3, 32, 32, device="cuda"), columns).device.type == "cuda"


@pytest.mark.parametrize("preset", PRESETS)
def test_degradations_stay_on_the_device(device: FakeTensorMode, preset: str) -> None:
    pipeline = as_operation(
        instantiate(compose("degrade", ["input=x", "output=y", f"degradation={preset}"]).degradation)
    )
    columns = pipeline.checked(pipeline.draw_keyed([(0, 0, index) for index in range(3)]), 3)
    pipeline.apply_canvas(torch.rand(3, 3, 64, 64), columns)  # makes the tables of the host
    with device:
        low = pipeline.apply_canvas(torch.empty(3, 3, 64, 64, device="cuda"), columns)
    assert low.device.type == "cuda"
    assert low.shape == (3, 3, 64 // pipeline.scale, 64 // pipeline.scale)


def test_a_detour_is_noticed(device: FakeTensorMode) -> None:
    pipeline = instantiate(compose("degrade", ["input=x", "output=y", "degradation=video"]).degradation)
    columns = pipeline.checked(pipeline.draw_keyed([(0, 0, 0)]), 1)
    pipeline.apply_canvas(torch.rand(1, 3, 64, 64), columns)
    with device, pytest.raises(RuntimeError, match="numpy"):
        pipeline.apply_canvas(torch.empty(1, 3, 64, 64, device="cuda"), columns)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_training_step_stays_on_the_device(
    device: FakeTensorMode, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [f"experiment={experiment}", "tracking=none", "speed=gpu", "model.compile_network=false"]
    if "esrgan" in experiment.split("_")[0]:
        overrides.append("model.warm_start=waived")
    config = compose("train", overrides)
    for key in {"num_blocks", "num_groups", "num_layers"} & config.model.network.keys():  # one block is as the others
        config.model.network[key] = min(config.model.network[key], 2)
    module = instantiate(config.model, _convert_="all")
    channels, crop = module.network.num_channels, config.data.crop
    keys = {"index": torch.zeros(2, dtype=torch.long), "epoch": torch.zeros(2, dtype=torch.long)}  # kept on the host
    monkeypatch.setattr(Tensor, "backward", lambda loss, **arguments: None)
    monkeypatch.setattr(torch.autograd, "grad", _gradients)
    monkeypatch.setattr(nn.Module, "to", lambda part, device: _move(part))
    with device:
        _move(module)
        high = torch.empty(2, channels, crop, crop, device="cuda")
        low = torch.empty(2, channels, crop // config.scale, crop // config.scale, device="cuda")
        module.dry_step({"low": low, "high": high, **keys})
        optimizer = module.make_optimizer(module.network.parameters())
        for weight in module.network.parameters():
            weight.grad = torch.empty_like(weight)
        if module.gradient_clip is not None:
            nn.utils.clip_grad_norm_(module.network.parameters(), module.gradient_clip)
        optimizer.step()
        if module.ema is not None:
            module.ema.update(module.network)


def _gradients(of: Tensor, to: Tensor | list[Tensor], **arguments: object) -> list[Tensor]:
    return [torch.empty_like(tensor) for tensor in (to if isinstance(to, list | tuple) else [to])]


def _move(module: nn.Module) -> nn.Module:
    """Parameters and buffers to the device, as ``module.cuda()`` would; what is neither stays where it is."""
    moved: dict[int, Tensor] = {}
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and id(tensor) not in moved:
                    fake = torch.empty_like(tensor, device="cuda")
                    wrapped = isinstance(tensor, nn.Parameter)
                    moved[id(tensor)] = nn.Parameter(fake, requires_grad=tensor.requires_grad) if wrapped else fake
                tensors[name] = None if tensor is None else moved[id(tensor)]
    return module
