"""The loop, performed: a service with its clients, a watcher beside it, images that change, and two retrainings.

Act one: the clients' images become noisy JPEG; drift is seen in what the service keeps, a candidate is trained, judged,
rolled out and promoted, and the service swaps. Act two: they change again, and the retraining goes wrong (its originals
were exchanged for blurred ones); it is stopped, and the clients get what they got before. Nobody does anything but
change the images: service and watcher are processes of their own, that this one only looks at.
"""

import io
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sr_lab.base.files import write_json, write_text
from sr_lab.images import list_images, read_image, resize_bicubic_uint8, to_tensor
from sr_lab.metrics.protocol import YCrop
from sr_lab.metrics.psnr import psnr
from sr_lab.serving.clients import Answered, Clients, ask
from sr_lab.serving.incoming import PROBES
from sr_lab.serving.keys import new_key
from sr_lab.serving.staging import SRLAB, Observer, Seen, TooLateError, address_in, process
from sr_lab.workflows.drifting import SCALE, Condition, Photos

__all__ = ["Act", "Condition", "Golden", "Performance", "perform"]

Pixels = NDArray[np.uint8]
NUM_CLIENTS = 120
RECOVERY_SECONDS = 600.0
"""Longest time after a promotion in which a window without drift has to be seen."""
_TITLES = ("The images change, and the model follows", "The retraining goes wrong, and nothing happens")


@dataclass(frozen=True)
class Golden:
    """What the service makes of known images, asked from outside.

    Attributes:
        condition: How they were sent.
        version: Version that answered all of them.
        psnr: Mean over the images, of each one's PSNR under the protocol y_crop, in decibels.
        answers: The bodies of the answers.
        shown: The first image as it was sent, what came back, and its original.
    """

    condition: str
    version: str
    psnr: float
    answers: tuple[bytes, ...]
    shown: tuple[Pixels, Pixels, Pixels]


@dataclass
class Act:
    """One act.

    Attributes:
        title: What it is about.
        condition: How the images come in from its beginning on.
        changed: When they changed, seconds since the epoch.
        before: What the service made of known images before.
        after: The same afterwards.
        events: When something was first seen, and what, in order.
        outcome: How the retraining ended.
        recovered: Whether, after a promotion, a window without drift was seen.
        steps: What the registry recorded: time and sentence.
        pages: The reports of it: what they show, and their files.
        seconds: How long it took.
    """

    title: str
    condition: Condition
    changed: float = 0.0
    before: list[Golden] = field(default_factory=list)
    after: list[Golden] = field(default_factory=list)
    events: list[tuple[float, str]] = field(default_factory=list)
    outcome: str = ""
    recovered: bool = False
    steps: list[tuple[str, str]] = field(default_factory=list)
    pages: list[tuple[str, Path]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def unchanged(self) -> bool:
        """Whether the clients got the same bytes from the same version before and after."""
        return [(each.version, each.answers) for each in self.before] == [
            (each.version, each.answers) for each in self.after
        ]


@dataclass
class Performance:
    """Everything that was seen.

    Attributes:
        acts: Both acts.
        seen: What was seen of service and watcher, about once a second.
        answers: Every request of the clients, and what came of it.
        cooldown: What the watcher said when it was asked once more: the same drift starts nothing.
        seconds: How long it took.
    """

    acts: list[Act]
    seen: list[Seen]
    answers: list[Answered]
    cooldown: str
    seconds: float

    @property
    def num_lost(self) -> int:
        """Number of requests that got no image."""
        return sum(answer.status != 200 for answer in self.answers)

    @property
    def closed(self) -> bool:
        """Whether all went as it should."""
        first, second = self.acts
        return (
            first.outcome == "promoted"
            and first.recovered
            and second.outcome in ("rejected", "stopped")
            and second.unchanged
            and self.num_lost == 0
            and first.after[0].psnr > first.before[0].psnr
        )


def perform(
    *,
    name: str,
    output: Path,
    tracking_uri: str,
    holdout: Path,
    conditions: Sequence[Condition],
    serve: Sequence[str],
    watch: Sequence[Sequence[str]],
    rate: float = 4.0,
    seconds: float = 1800.0,
    news: Callable[[str], object] = lambda text: None,
) -> Performance:
    """Performs both acts.

    Args:
        name: The registered model; it has a champion, with its reference.
        output: Folder of everything.
        tracking_uri: The store that has the registry.
        holdout: Originals that nothing is trained on: of them the known images are made.
        conditions: How images come in: before, in act one, in act two.
        serve: Further settings of ``srlab serve``.
        watch: Those of ``srlab watch``: of act one, of act two, and of the pass at the end.
        rate: Bursts of the clients a second.
        seconds: Longest time that is waited for anything.
        news: Is told what is going on.

    Raises:
        RuntimeError: If a process ends, or something does not come about in time.
    """
    start = time.perf_counter()
    keys = _keys(output / "keys.yaml")
    place = [f"name={name}", f"tracking_uri={tracking_uri}"]
    files = [f"incoming.file={output / 'incoming.db'}", f"pairs={output / 'pairs.db'}"]
    log, photos = output / "serve.log", Photos(seed=1)
    command = ["serve", *place, *files, f"api_keys={output / 'keys.yaml'}", "port=0", *serve]
    with process([*SRLAB, *command], log=log, threads=1) as service:
        address = address_in(log, service, seconds=seconds)
        news(f"the service answers at {address}")
        stage = _Stage(
            condition=conditions[0], place=place, output=output, holdout=holdout, seconds=seconds, news=news,
            key=keys[0],
        )  # fmt: skip
        with Clients(address, keys, lambda: photos.draw(stage.condition), rate=rate) as clients:
            observer = stage.open(clients, name=name, tracking_uri=tracking_uri)
            acts = [
                stage.act(title, condition, settings)
                for title, condition, settings in zip(_TITLES, conditions[1:], watch[:2], strict=True)
            ]
            cooldown = stage.once_more(watch[2])
    return Performance(
        acts=acts, seen=observer.seen, answers=clients.answers, cooldown=cooldown, seconds=time.perf_counter() - start
    )


class _Stage:
    """A service that runs, and what happens to it."""

    def __init__(
        self, *, condition: Condition, place: Sequence[str], output: Path, holdout: Path, seconds: float,
        news: Callable[[str], object], key: str,
    ) -> None:  # fmt: skip
        self.condition, self.output, self.seconds, self.news, self.key = condition, output, seconds, news, key
        self._holdout = holdout
        self._watch = ["watch", *place, f"current={output / 'incoming.db'}", f"pairs={output / 'pairs.db'}"]
        self._watch += [f"holdout={holdout}", f"output={output / 'watch'}"]

    def open(self, clients: Clients, *, name: str, tracking_uri: str) -> Observer:
        """Waits for the first window, which is as it should be."""
        self.known = _Known(clients, self.key, self._holdout)
        self.observer = Observer(
            metrics=lambda: clients.get("/metrics", key=self.key).decode(), output=self.output / "watch",
            tracking_uri=tracking_uri, name=name,
        )  # fmt: skip
        found = self.observer.until(_compared, what="a window", seconds=self.seconds)
        self.news(f"a window of images was compared with the reference: {'drift' if found.alarm else 'no drift'}")
        return self.observer

    def act(self, title: str, condition: Condition, settings: Sequence[str]) -> Act:
        """The images change; the watcher does the rest."""
        act, observer, begin = Act(title=title, condition=condition), self.observer, time.perf_counter()
        record, ended = observer.last_record(), len(observer.ended())
        conditions = (condition, self.condition)
        act.before = [self.known.ask(each) for each in conditions]
        self.condition, act.changed = condition, time.time()
        self.news(f"\n{title}\n  from now on: {condition.text}")
        following = _Following(act, self.news)

        def over(seen: Seen) -> bool:
            following(seen)
            return len(observer.ended()) > ended

        log = self.output / f"watch-{ended + 1}.log"
        with process([*SRLAB, *self._watch, "poll_seconds=1", *settings], log=log, threads=1) as watcher:
            observer.until(over, what="the end of the retraining", seconds=self.seconds, child=watcher)
        act.outcome, version = str(observer.ended()[-1]["outcome"]), str(observer.ended()[-1]["version"])
        self.news(f"  {act.outcome}")
        if act.outcome == "promoted":

            def recovered(seen: Seen) -> bool:
                following(seen)
                return seen.version == version and not seen.alarm and _compared(seen)

            try:
                quiet = observer.until(recovered, what="a window without drift", seconds=RECOVERY_SECONDS)
            except TooLateError as late:
                following.note(observer.seen[-1], f"the indicators have not recovered: {late}")
            else:
                act.recovered = True
                following.note(quiet, "the indicators have recovered: a window without drift")
        act.after = [self.known.ask(each) for each in conditions]
        act.steps = observer.steps(record)
        act.pages = _pages(self.output / "watch" / str(observer.ended()[-1]["name"]))
        act.seconds = time.perf_counter() - begin
        return act

    def once_more(self, settings: Sequence[str]) -> str:
        """One pass of the watcher, in words: the same drift starts nothing."""
        self.news("\nthe same drift once more")
        log = self.output / "watch-once.log"
        with process([*SRLAB, *self._watch, "once=true", *settings], log=log, threads=1) as child:
            code = child.wait(self.seconds)
        lines = [line.strip() for line in log.read_text(encoding="utf-8").splitlines() if "cool-down" in line]
        found = f"exit code {code}: {lines[0] if lines else 'it says nothing of a cool-down'}"
        self.news(f"  {found}")
        return found


def _compared(seen: Seen) -> bool:
    """Whether a window was compared with the reference of the version that is served."""
    return not np.isnan(seen.shifts.get("noise", np.nan))


class _Following:
    """Notes when something is seen for the first time."""

    def __init__(self, act: Act, news: Callable[[str], object]) -> None:
        self.act, self.news, self.stage, self.version = act, news, "watching", ""
        self.alarm = False

    def __call__(self, seen: Seen) -> None:
        """Notes what has changed since the look before."""
        if seen.alarm and not self.alarm:
            self.note(seen, "the service's own telemetry raises the alarm")
        if seen.stage != self.stage and seen.stage != "watching":
            said = {
                "training": "retraining begins",
                "registering": "the candidate is trained",
                "gate": "the candidate is registered; the gate measures",
                "rollout": "the gate has passed it; it answers beside the champion",
            }
            self.note(seen, said[seen.stage])
        if seen.version != self.version and self.version:
            self.note(seen, f"the service swaps: version {seen.version} answers")
        self.alarm, self.stage, self.version = self.alarm or seen.alarm, seen.stage, seen.version or self.version

    def note(self, seen: Seen, text: str) -> None:
        """Writes it down, and tells it."""
        self.act.events.append((seen.time, text))
        self.news(f"  {seen.time - self.act.changed:6.0f} s  {text}")


class _Known:
    """Images whose originals are known, sent to the service from outside like any other."""

    def __init__(self, clients: Clients, key: str, holdout: Path) -> None:
        self.clients, self.key = clients, key
        originals = [read_image(file)[:, :, :3] for file in list_images(holdout)]
        self.originals = sorted(originals, key=lambda image: not np.ptp(image, axis=2).any())  # shown is one in colour
        self.protocol = YCrop()

    def ask(self, condition: Condition) -> Golden:
        """What the service makes of them, each sent as the condition has it; the same files every time.

        Raises:
            RuntimeError: If one is not answered.
        """
        random, connection = np.random.default_rng(7), self.clients.connection()
        values, bodies, versions, shown = [], [], set(), None
        for original in self.originals:
            target = torch.from_numpy(original).permute(2, 0, 1)[None]
            low = resize_bicubic_uint8(target, scale=1 / SCALE)[0].permute(1, 2, 0).numpy()
            data = condition(low, random)
            answer = ask(connection, data, key=self.key, request=f"{PROBES[0]}{uuid.uuid4().hex}")
            if answer.status != 200:
                raise RuntimeError(f"a known image was answered with {answer.status}: {answer.data[:200]!r}")
            restored = np.asarray(Image.open(io.BytesIO(answer.data)).convert("RGB"))
            pair = self.protocol.compare(to_tensor(restored), to_tensor(original), scale=SCALE)
            values.append(float(psnr(*pair)))
            bodies.append(answer.data)
            versions.add(answer.version)
            shown = shown or (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), restored, original)
        connection.close()
        assert shown is not None
        return Golden(
            condition=condition.text, version=", ".join(sorted(versions)), psnr=float(np.mean(values)),
            answers=tuple(bodies), shown=shown,
        )  # fmt: skip


def _keys(file: Path) -> list[str]:
    """A key for each client, of which the file holds the hash."""
    import yaml

    pairs = [new_key() for _ in range(NUM_CLIENTS)]
    entries = {
        f"client-{n:03}": {"sha256": hashed, "scopes": ["restore", "metrics"]} for n, (_, hashed) in enumerate(pairs)
    }
    write_text(file, yaml.safe_dump(entries))
    return [key for key, _ in pairs]


def _pages(folder: Path) -> list[tuple[str, Path]]:
    found = [("drift", folder / "drift" / "drift.html"), ("retraining", folder / "retrain.html")]
    found += [("gate", file) for file in sorted((folder / "gate").glob("*.html"))]
    found += [("rollout", file) for file in sorted((folder / "rollout").glob("*.html"))]
    return [(name, file) for name, file in found if file.is_file()]


def write_facts(done: Performance, file: Path) -> None:
    """The numbers of a performance, as JSON."""
    write_json(
        file,
        {
            "closed": done.closed,
            "seconds": round(done.seconds, 1),
            "requests": len(done.answers),
            "lost": done.num_lost,
            "cooldown": done.cooldown,
            "acts": [
                {
                    "title": act.title,
                    "condition": act.condition.text,
                    "outcome": act.outcome,
                    "recovered": act.recovered,
                    "seconds": round(act.seconds, 1),
                    "events": [[round(moment - act.changed, 1), text] for moment, text in act.events],
                    "steps": [[when, text] for when, text in act.steps],
                    "psnr_y (y_crop)": {
                        when: {each.condition: round(each.psnr, 4) for each in found}
                        for when, found in (("before", act.before), ("after", act.after))
                    },
                    "versions": {"before": act.before[0].version, "after": act.after[0].version},
                    "answers are the same bytes": act.unchanged,
                }
                for act in done.acts
            ],
        },
    )


def clock_of(moment: float) -> str:
    """Hours, minutes and seconds of a moment, UTC, as the registry's records have it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%H:%M:%S")
