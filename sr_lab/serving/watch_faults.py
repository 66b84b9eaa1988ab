"""The faults that ``srlab demo_watch`` plants, and the registry that its service serves."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sr_lab.images.files import read_image
from sr_lab.images.folders import list_images
from sr_lab.monitoring import Extractor
from sr_lab.monitoring.embedding import ContentEmbedding
from sr_lab.serving.rehearsal import make_version
from sr_lab.serving.watched import Seen, Watched, free_addresses, require_programs, traffic
from sr_lab.tracking.registry import aliases
from sr_lab.tracking.registry.aliases import label
from sr_lab.workflows.drifting import Condition, Photos, make_reference
from sr_lab.workflows.golden import make_golden
from sr_lab.workflows.profile import measure_profile

FAULTS = {
    "latency": ("bodies that come slowly, over seconds", "LatencyToOneBurnsFast"),
    "quality": ("the champion becomes a network that was never trained", "GoldenBelowBicubic"),
    "drift": ("the clients' images become noisy JPEG", "Drifted"),
    "cost": ("more is computed than the day's budget allows", "BudgetSpent"),
}
"""What is planted, and the alert that it should raise."""
NAME = "watched"
BEFORE, AFTER = Condition(), Condition(noise=12, quality=50)
"""How the clients' images come in, and how while the fault ``drift`` is planted."""
SIDE, NUM_REFERENCE = 160, 60
"""Side of the clients' images, and how many there are in the reference."""
INCOMING = (
    "incoming=default", "incoming.file=incoming.db", "incoming.reference=reference.parquet", "incoming.share=1",
    "incoming.cpu=0.3", "incoming.window=24", "incoming.clear_after=1",
)  # fmt: skip
"""All of them are looked at, in windows that are full within seconds."""


class Images:
    """What clients send: squares of photos, no two the same, as the present condition has them."""

    def __init__(self) -> None:
        self.condition, self._photos = BEFORE, Photos(side=SIDE, seed=1)

    def __call__(self) -> bytes:
        """The next file."""
        return self._photos.draw(self.condition)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of a rehearsal.

    Attributes:
        seen: Of each fault.
        pictures: The dashboards, drawn.
    """

    seen: Sequence[Seen]
    pictures: Sequence[Path]


def rehearse(
    faults: Sequence[str],
    *,
    photos: Path,
    output: Path,
    objectives: Callable[[str, str], Any],
    say: Callable[[str], object],
) -> Report:
    """Plants faults one by one in a service that is watched.

    Args:
        faults: Names of ``FAULTS``.
        photos: Photos of the golden set; the clients' are squares of the others, those of training and validation.
        output: Folder of everything that is written.
        objectives: Makes the objectives, given the service's address and the receiver's.
        say: Told how it goes.

    Raises:
        ValueError: If a program is not installed.
    """
    require_programs()
    output.mkdir(parents=True, exist_ok=True)
    output = output.resolve()
    make_golden(photos, output / "golden", scale=2, num=2, side=192)
    store = f"sqlite:///{output / 'mlflow.db'}"
    make_reference(output / "before", BEFORE, num=NUM_REFERENCE, side=SIDE)
    measure_profile(
        output / "before", output / "reference.parquet", extractor=Extractor(embedding=ContentEmbedding()),
        progress=lambda done, of: None,
    )  # fmt: skip
    good = make_version(store, NAME, folder=output / "good")
    bad = make_version(store, NAME, folder=output / "bad", untrained=True)
    promote_by_hand(store, good)
    service, receiver, alertmanager, web = free_addresses(4)
    serve = [
        f"name={NAME}", f"tracking_uri={store}", "poll=1", "golden=folder",
        "golden.seconds=3", "cost=prices", "cost.state=null", "tile=128", *INCOMING,
    ]  # fmt: skip
    seen, marks = [], {}
    image, images = _photo(photos), Images()
    with Watched(objectives(service, receiver), output, serve, alertmanager=alertmanager, web=web) as watched:
        say(f"service at http://{service}, Prometheus at http://{web}, Alertmanager at http://{alertmanager}")
        with traffic(service, images):
            for name in faults:
                text, alert = FAULTS[name]
                say(f"{name}: {text}")
                marks[name] = _now()
                seen.append(watched.plant(name, alert, _fault(name, watched, store, (good, bad), images, image)))
        pictures = watched.draw(marks)
    return Report(seen=seen, pictures=pictures)


@contextlib.contextmanager
def _fault(
    name: str, watched: Watched, store: str, versions: tuple[int, int], images: Images, image: bytes
) -> Iterator[None]:
    good, bad = versions
    if name == "latency":
        with traffic(watched.objectives.address, lambda: image, clients=8, body_seconds=3.2, probe=True):
            yield
    elif name == "drift":
        images.condition = AFTER
        try:
            yield
        finally:
            images.condition = BEFORE
    elif name == "quality":
        promote_by_hand(store, bad)
        try:
            yield
        finally:
            promote_by_hand(store, good)
    else:
        watched.restart("cost.daily=0.000001")
        try:
            yield
        finally:
            watched.restart()


def promote_by_hand(store: str, version: int) -> None:
    """Moves the alias by hand: what the gate would never do is the fault."""
    found = aliases.aliases(store, NAME)
    decision = {
        "outcome": "promote", "candidate": label(NAME, version), "sha256": "", "policy_sha256": "rehearsal",
        "champion": label(NAME, found["champion"]) if "champion" in found else None,
        "reasons": [{"line": "note  rehearsal: nothing is measured"}],
    }  # fmt: skip
    aliases.promote(store, NAME, version, decision=decision, who="rehearsal")


def _photo(photos: Path) -> bytes:
    pixels = read_image(list_images(photos)[0])[:340, :340]
    return cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()


def _now() -> float:
    return time.time()
