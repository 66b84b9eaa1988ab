"""A critic of motion: what it sees, what it tells apart, and a game on clips."""

from functools import partial

import pytest
import torch
from torch import nn

from sr_lab.data.camera import camera_clip
from sr_lab.losses.adversarial import R1, LeastSquares, Vanilla
from sr_lab.losses.pixel import L2
from sr_lab.networks.discriminators import Critic, PatchCritic
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.temporal.critic import TripletCritic
from sr_lab.networks.temporal.recurrent import RecurrentEDSR
from sr_lab.training.adversarial import Adversarial


class Seen(Critic):
    """Its logits are what it is shown."""

    def forward(self, images):
        return images


def clip(seed: int = 0, *, count: int = 4) -> torch.Tensor:
    low = torch.rand(1, 3, 15, 20, generator=torch.Generator().manual_seed(seed))
    photo = nn.functional.interpolate(low, (120, 160), mode="bicubic", align_corners=False).clamp(0, 1)
    return camera_clip(photo, key=(0, 0, 3), count=count, size=(48, 48), speed=4.0).frames[None]


def test_the_outer_frames_lie_on_the_middle_one():
    frames = clip()
    shown = TripletCritic(critic=Seen)(frames).unflatten(1, (3, 3))
    assert shown.shape == (2, 3, 3, 48, 48)
    inner = (..., slice(8, -8), slice(8, -8))
    for number in range(2):
        before, now, after = shown[number]
        assert torch.equal(now, frames[0, number + 1])
        for moved, frame in ((before, frames[0, number]), (after, frames[0, number + 2])):
            assert (moved - now)[inner].abs().mean() < 0.3 * (frame - now)[inner].abs().mean()


def test_restored_clips_are_warped_by_the_motion_of_the_original():
    frames = clip()
    judge = TripletCritic(critic=Seen).judge(frames)
    other = torch.rand(frames.shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(judge(2 * frames), 2 * judge(frames))
    assert not torch.allclose(judge(other), TripletCritic(critic=Seen)(other))


def test_it_learns_to_tell_flicker_that_no_single_frame_shows():
    """The frames of both clips are as bright and as dark, equally often; only their order differs."""
    torch.manual_seed(0)
    critic = TripletCritic(critic=partial(PatchCritic, num_features=8, num_layers=1))
    optimizer, game = torch.optim.Adam(critic.parameters(), lr=5e-3), LeastSquares(weight=1.0)
    steady, flicker = (torch.tensor(signs).view(1, 6, 1, 1, 1) / 4 for signs in ([1, 1, 1, -1, -1, -1], [1, -1] * 3))

    def sides(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        frames, sign = clip(seed, count=6), (-1) ** seed
        judge = critic.judge(frames)
        return judge(frames + sign * steady), judge(frames + sign * flicker)

    for step in range(120):
        optimizer.zero_grad()
        game.critic(*sides(step % 8)).backward()
        optimizer.step()
    with torch.no_grad():
        real, fake = sides(11)
    assert real.mean() > fake.mean() + 0.5


@pytest.mark.parametrize("shape", [(2, 3, 48, 48), (1, 2, 3, 48, 48)])
def test_it_needs_three_frames(shape):
    with pytest.raises(ValueError, match=r"three frames of a clip at once, and got (images|2 frames)"):
        TripletCritic(critic=Seen)(torch.rand(shape))


def game(critic: Critic, network) -> Adversarial:
    return Adversarial(
        network=network, losses={"base": L2(weight=1.0)}, gan=Vanilla(weight=0.1), critic=critic,
        critic_optimizer=torch.optim.Adam, metrics={}, optimizer=torch.optim.Adam, ema_decay=0.9, r1=R1(),
    )  # fmt: skip


@pytest.mark.parametrize("per_frame", [False, True])
@pytest.mark.parametrize("motion", [False, True])
def test_clips_are_played_for_by_networks_of_clips_and_of_frames(per_frame, motion):
    torch.manual_seed(0)
    image = EDSR(scale=2, num_blocks=1, num_features=8)
    inner = partial(PatchCritic, num_features=4, num_layers=1)
    critic = TripletCritic(critic=inner) if motion else inner(num_channels=3)
    module = game(critic, image if per_frame else RecurrentEDSR(image=image))
    high = clip()
    low = nn.functional.avg_pool2d(high[0], 2)[None]
    values, terms, _ = module._round(module._restored({"low": low}), {"low": low, "high": high}, share=1, penalise=True)
    assert values["r1"] > 0
    torch.stack(list(terms.values())).sum().backward()
    for part in (module.network.parameters() if per_frame else module.network.image.parameters(), critic.parameters()):
        assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in part)
    if not per_frame:
        assert module.network.recurrent.weight.grad.abs().max() > 0
    found = module._read(module._restored({"low": low}), {"low": low, "high": high}, {}, {
        "critic_real": torch.tensor(0.0), "critic_fake": torch.tensor(0.0),
    })  # fmt: skip
    assert all(value.isfinite() for value in found.values())
