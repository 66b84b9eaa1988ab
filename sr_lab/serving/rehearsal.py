"""A rollout rehearsed without a server: simulated clients, the real router, and candidates with planted faults.

What is real: the registry, the audit, the router, the pairs and their proxies, the decisions. What is not: the clients,
the clock, and the times, which are declared and vary by chance, so that a busy machine changes nothing.
"""

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sr_lab.images import list_images, read_image, resize_bicubic
from sr_lab.promotion.canary import RolloutPolicy
from sr_lab.promotion.canary.policy import HOLDBACK
from sr_lab.serving.rollout import Answer, Rollouts
from sr_lab.tracking.registry import aliases, rollouts
from sr_lab.tracking.registry.aliases import CHAMPION, label
from sr_lab.workflows import rollout
from sr_lab.workflows.pairs import PairStore

__all__ = ["CASES", "Case", "Model", "Rehearsed", "Traffic", "bicubic", "make_clients", "make_version", "rehearse"]

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A version that answers.

    Attributes:
        restore: (h, w, 3) to (h * scale, w * scale, 3), both uint8; what it raises is a failure.
        seconds: Declared time of an image.
    """

    restore: Callable[[Pixels], Pixels]
    seconds: float = 0.1

    def answer(self, low: Pixels, noise: float) -> Answer:
        """Its image, or that it failed."""
        try:
            return Answer(image=self.restore(low), seconds=self.seconds * noise)
        except RuntimeError:
            return Answer()


def bicubic(low: Pixels, *, scale: int = 2, corrected: bool = False) -> Pixels:
    """MATLAB's bicubic; ``corrected`` adds what it lost of the input, once (back-projection)."""
    given = torch.from_numpy(np.moveaxis(low, -1, 0)[None].astype(np.float32)) / 255
    large = resize_bicubic(given, scale=float(scale))
    if corrected:
        large = large + resize_bicubic(given - resize_bicubic(large, scale=1 / scale), scale=float(scale))
    levels = (large[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return np.ascontiguousarray(np.moveaxis(levels, 0, -1))


def _changed(model: Model, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Model:
    def restore(low: Pixels) -> Pixels:
        return np.clip(np.round(change(model.restore(low).astype(np.float64))), 0, 255).astype(np.uint8)

    return replace(model, restore=restore)


def _colour_shift(model: Model) -> Model:
    return _changed(model, lambda image: image + np.array([5.0, 0.0, -5.0]))


def _invented_texture(model: Model) -> Model:
    """A fine pattern of single pixels, which leaves no trace in the image made small again."""

    def change(image: NDArray[np.float64]) -> NDArray[np.float64]:
        rows, columns = np.indices(image.shape[:2])
        return image + 8.0 * np.where((rows + columns) % 2, 1.0, -1.0)[..., None]

    return _changed(model, change)


def _better(model: Model) -> Model:
    return replace(model, restore=lambda low: bicubic(low, corrected=True))


def _slow(model: Model) -> Model:
    return replace(model, seconds=1.6 * model.seconds)


def _crashing(model: Model) -> Model:
    """Fails on every second image, whichever these are."""

    def restore(low: Pixels) -> Pixels:
        if int(low.sum()) % 2:
            raise RuntimeError("a planted failure")
        return model.restore(low)

    return replace(model, restore=restore)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A candidate, and what should come of it.

    Attributes:
        text: What it is.
        plant: Makes it of the champion.
        ends: How its rollout should end.
        blamed: Checks, one of which at least should be named; empty where none is.
        only_after: Whether the fault shows only after the promotion.
    """

    text: str
    plant: Callable[[Model], Model]
    ends: str
    blamed: tuple[str, ...] = ()
    only_after: bool = False


CASES: Mapping[str, Case] = {
    "colour shift": Case(
        text="red is 5 levels too high, blue 5 too low", plant=_colour_shift, ends="aborted", blamed=("lr_consistency",)
    ),
    "invented texture": Case(
        text="a chequered pattern of 8 levels on everything", plant=_invented_texture, ends="aborted",
        blamed=("unseen_detail", "disagreement", "naturalness"),
    ),
    "slow": Case(text="takes 1.6 times as long", plant=_slow, ends="aborted", blamed=("latency_small",)),
    "crashing": Case(text="fails on every second image", plant=_crashing, ends="aborted", blamed=("errors",)),
    "equal": Case(text="the champion once more", plant=replace, ends="finished"),
    "better": Case(text="nearer to its input, by back-projection", plant=_better, ends="finished"),
    "turns bad": Case(
        text="the champion, until it is promoted; then it shifts colours", plant=_colour_shift, ends="aborted",
        blamed=("lr_consistency",), only_after=True,
    ),
}  # fmt: skip
"""The candidates that can be rehearsed."""


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """What came of a case.

    Attributes:
        case: Which.
        moves: The steps of the rollout, in sentences.
        headline: How it ended.
        ends: ``finished``, ``aborted``, or the stage that it was left in.
        champion: Version that is champion afterwards.
        candidate: Version of the candidate.
        blamed: Checks that were named.
        num_bursts: Bursts that were seen until the end.
        exposed: Part of the requests before a promotion that the candidate answered to clients.
        failed: Requests that got no image.
        page: The report.
    """

    case: str
    moves: tuple[str, ...]
    headline: str
    ends: str
    champion: int | None
    candidate: int
    blamed: tuple[str, ...]
    num_bursts: int
    exposed: float
    failed: int
    page: Path | None

    @property
    def as_expected(self) -> bool:
        """Whether it ended as it should: by the right check, and with the right champion."""
        case = CASES[self.case]
        right = (self.champion == self.candidate) == (case.ends == "finished")
        named = not case.blamed or bool(set(case.blamed) & set(self.blamed))
        return self.ends == case.ends and right and named


def rehearse(
    case: str,
    *,
    name: str,
    policy: RolloutPolicy,
    photos: Path,
    output: Path,
    tracking_uri: str,
    num_clients: int = 40,
    side: int = 32,
    most_bursts: int = 1000,
    seed: int = 0,
    version: Callable[[int], int] | None = None,
) -> Rehearsed:
    """Rolls a planted candidate out to simulated clients, until it is decided.

    Args:
        case: One of ``CASES``.
        name: Registered model; it gets a champion if it has none.
        policy: The rollout's.
        photos: Folder of photos that the clients' images are cut from.
        output: Folder of the pairs and the report.
        tracking_uri: The store that has the registry.
        num_clients: Number of clients.
        side: Side of their images, in pixels.
        most_bursts: Bursts after which it is left undecided.
        seed: Of who comes when.
        version: Registers a version and gives its number, told how many were before; None: ``make_version``.
    """
    make = version or (lambda count: make_version(tracking_uri, name, folder=output / "versions" / f"{count + 1}"))
    champion = _champion(tracking_uri, name, policy, make)
    folder = output / case.replace(" ", "-")
    candidate = make(len(list((output / "versions").glob("*"))) if version is None else champion)
    good = Model(restore=bicubic)
    planted = CASES[case].plant(good)
    late = CASES[case].only_after
    traffic = Traffic(
        {champion: good, candidate: good if late else planted},
        make_clients([read_image(file) for file in list_images(photos)], num=num_clients, side=side, seed=seed),
        seed=seed,
    )
    rollout.begin(name=name, policy=policy, version=candidate, tracking_uri=tracking_uri)
    with contextlib.closing(PairStore(folder / "pairs.db")) as store:
        router = Rollouts(
            store, lambda: rollouts.current(tracking_uri, name), keep_pictures=20, time=traffic.clock
        )  # fmt: skip
        moves: list[str] = []
        before: tuple[int, int] | None = None
        while True:
            router.refresh()
            for _ in range(10):
                traffic.burst(router, champion)
            found = rollout.advance(
                name=name, policy=policy, pairs=store.path, tracking_uri=tracking_uri,
                time=lambda: traffic.clock() + policy.pause + rollout.LAG,
            )  # fmt: skip
            moves += found.moves
            if before is None and (found.rollout.over or found.rollout.stage == HOLDBACK):
                before = traffic.served.get(candidate, 0), traffic.num_requests
            if late and found.rollout.stage == HOLDBACK:
                traffic.models = {champion: good, candidate: planted}
            if found.rollout.over or traffic.num_bursts >= most_bursts:
                break
        traffic.now += policy.pause + rollout.LAG + 1
        told = rollout.standing(
            name=name, policy=policy, pairs=store.path, tracking_uri=tracking_uri, report=folder, time=traffic.clock
        )
    served, asked = before or (traffic.served.get(candidate, 0), traffic.num_requests)
    now = aliases.aliases(tracking_uri, name).get(CHAMPION)
    return Rehearsed(
        case=case, moves=tuple(moves), headline=told.headline, ends=found.rollout.stage, candidate=candidate,
        champion=now, blamed=found.judgement.blamed,
        num_bursts=found.judgement.num_bursts, exposed=served / max(1, asked), failed=traffic.num_failed,
        page=told.page,
    )  # fmt: skip


def _champion(uri: str, name: str, policy: RolloutPolicy, make: Callable[[int], int]) -> int:
    """The champion's version; the first one is made so without a gate, which has nothing to compare it with."""
    try:
        found = aliases.aliases(uri, name).get(CHAMPION)
    except ValueError:
        found = None
    if found is not None:
        return found
    first = make(0)
    decision = {
        "outcome": "promote", "candidate": label(name, first), "champion": None, "sha256": "", "reasons": [
            {"line": "note  rehearsal: the first champion of a rehearsal is not measured"}
        ], "policy_sha256": policy.sha256,
    }  # fmt: skip
    aliases.promote(uri, name, first, decision=decision, who="rehearsal")
    return first


def make_clients(photos: Sequence[Pixels], *, num: int, side: int, seed: int = 0, scale: int = 2) -> list[list[Pixels]]:
    """Low images of each client: neighbouring squares of one photo, so that they resemble each other."""
    random = np.random.default_rng(seed)
    clients = []
    for index in range(num):
        photo = photos[index % len(photos)]
        span = side * scale
        top, left = (int(random.integers(0, max(1, length - 2 * span))) for length in photo.shape[:2])
        squares = [
            photo[top + a : top + a + span, left + b : left + b + span, :3] for a in (0, span) for b in (0, span)
        ]
        clients.append([_small(square, scale) for square in squares if square.shape[:2] == (span, span)])
    return [images for images in clients if images]


class Traffic:
    """Clients that send bursts of requests.

    Args:
        models: The versions.
        clients: Their images; see ``make_clients``.
        seed: Of who comes when.
    """

    def __init__(self, models: Mapping[int, Model], clients: Sequence[Sequence[Pixels]], *, seed: int = 0) -> None:
        self.models, self.clients = models, clients
        self.random = np.random.default_rng(seed)
        self.now = 1.7e9
        self.num_requests = self.num_bursts = self.num_failed = 0
        self.served: dict[int, int] = {}

    def clock(self) -> float:
        """The time, in seconds since the epoch."""
        return self.now

    def burst(self, rollouts: Rollouts, champion: int) -> None:
        """One client comes, sends a few images, and leaves; the champion answers what no rollout routes."""
        client = int(self.random.integers(len(self.clients)))
        self.num_bursts += 1
        for _ in range(int(min(self.random.geometric(0.6), 4))):
            low = self.clients[client][int(self.random.integers(len(self.clients[client])))]
            self._request(rollouts, champion, f"client {client} of {self.num_bursts}", low)
            self.now += 1.0
        self.now += 2.0

    def _request(self, rollouts: Rollouts, champion: int, client: str, low: Pixels) -> None:
        self.num_requests += 1
        route = rollouts.route(client=client, request=f"r{self.num_requests}")
        noise = np.exp(0.1 * self.random.standard_normal(2))
        if route.rollout is None or route.version is None:
            self._served(champion, self.models[champion].answer(low, 1.0))
            return
        base, candidate = route.rollout.base, route.rollout.candidate
        asked = {route.version, route.other}
        answers = {
            version: self.models[version].answer(low, float(noise[index])) if version in asked else None
            for index, version in enumerate((base, candidate))
        }
        first, version = answers[route.version], route.version
        assert first is not None
        if first.image is None and route.fallback is not None:
            version = route.fallback
            first = answers[version] = answers[version] or self.models[version].answer(low, float(noise[0]))
        self._served(version, first)
        rollouts.observe(route, low=low, champion=answers[base], candidate=answers[candidate])

    def _served(self, version: int, answer: Answer) -> None:
        self.served[version] = self.served.get(version, 0) + 1
        self.num_failed += answer.image is None


def make_version(uri: str, name: str, *, folder: Path, scale: int = 2, untrained: bool = False) -> int:
    """Registers one more version of a bicubic network, from a run of its own; its number.

    Args:
        uri: Tracking store, which is the registry too.
        name: Registered model.
        folder: Where the run is recorded; a new one for each version.
        scale: Enlargement factor.
        untrained: Instead a small EDSR as it is drawn, whose images are no good.
    """
    from sr_lab.artefacts.artefact import save_artefact
    from sr_lab.networks.bicubic import Bicubic
    from sr_lab.networks.edsr import EDSR
    from sr_lab.tracking.models import save_model
    from sr_lab.tracking.registry.versions import register
    from sr_lab.tracking.run import Run
    from sr_lab.tracking.shipping import Shipper

    settings: dict[str, Any] = {"scale": scale, "num_channels": 3}
    network: Any = Bicubic(**settings).eval()
    if untrained:
        settings |= {"num_features": 4, "num_blocks": 1}
        network = EDSR(**settings).eval()
    node = {"_target_": f"{type(network).__module__}.{type(network).__qualname__}", **settings}
    artefact = save_artefact(folder / "best", network, config={"model": {"network": node}}, metadata={})
    run = Run(
        uri=uri, experiment="rehearsal", name=folder.name, directory=folder / "tracking", ship=False, system_seconds=0,
        observe=False,
    )  # fmt: skip
    run.log_model(save_model(folder / "model", network, artefact=artefact))
    with contextlib.redirect_stderr(io.StringIO()):  # that nothing is on the server yet
        run.finish()
    Shipper(run.spool).ship()
    run_id = run.spool.state.run_id
    assert run_id is not None
    return register(uri, run_id, name).number


def _small(square: Pixels, scale: int) -> Pixels:
    given = torch.from_numpy(np.moveaxis(square, -1, 0)[None].astype(np.float32)) / 255
    levels = (resize_bicubic(given, scale=1 / scale)[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return np.ascontiguousarray(np.moveaxis(levels, 0, -1))
