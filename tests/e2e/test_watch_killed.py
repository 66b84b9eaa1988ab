"""srlab watch as a process, killed by -9 in the middle of each stage: the next call goes on to the same end."""

import io
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from holding import Forked, Place
from PIL import Image

from sr_lab.artefacts.folder import WEIGHTS
from sr_lab.base.files import sha256
from sr_lab.cli import main
from sr_lab.config.words import setting
from sr_lab.monitoring import Extractor, read_profile
from sr_lab.monitoring.embedding import ContentEmbedding
from sr_lab.monitoring.incoming import IncomingStore
from sr_lab.tracking.registry import aliases, rollouts
from sr_lab.tracking.registry.references import fetch_reference
from sr_lab.tracking.store import download
from sr_lab.workflows.drifting import Condition, Photos, make_holdout, make_reference
from sr_lab.workflows.history import history
from sr_lab.workflows.pairs import PairStore

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

WINDOW, STEPS = 24, 12
TINY = ["trainer.enable_progress_bar=false", "pictures=0", "data.batch_size=2", "data.crop=32", "data.repeats=2"]
TINY += ["model.network.num_blocks=1", "model.network.num_features=4", "preflight=false", "trainer.accelerator=cpu"]
TINY += ["tracking.drain_seconds=60", "scheduler.num_warmup=1"]
WATCH = ["experiment=edsr_tiny_x2_photos", "holdout=holdout", "current=incoming.db", "pairs=pairs.db", "output=watch"]
WATCH += ["once=true", f"steps={STEPS}", "retraining.max_cost=1000"]
# what the gate and the rollout ask for is not what is tried here: a candidate of 12 steps passes
WATCH += ["policy.checks.psnr_old.margin=20", "policy.checks.psnr_floor.value=1"]
WATCH += ["policy.checks.psnr_old.min_scenes=3"]
WATCH += [f"~policy.checks.{name}" for name in ("psnr_new", "ssim_new", "ssim_old", "latency", "memory")]
WATCH += [f"~rollout.checks.{name}" for name in ("tone", "naturalness", "unseen_detail", "disagreement")]
WATCH += [f"~rollout.checks.latency_{size}" for size in ("small", "medium", "large")]
WATCH += [f"~rollout.stages.canary_{share}" for share in (1, 5, 25)]
WATCH += ["rollout.checks.errors.margin=0.9", "rollout.releases=1", "rollout.pause=1", "rollout.holdback.bursts=0"]
WATCH += ["rollout.stages.shadow.bursts=5", "rollout.stages.canary_50.bursts=5"]

PLACES = {
    "drift was found": Place(module="sr_lab.workflows.retrain", name="seconds_per_step"),
    "the retraining is open": Place(module="sr_lab.workflows.retrain.logbook", name="write_text", call=2),
    "half of the training": Place(module="sr_lab.training.checkpoint", name="KeepLast._save", call=STEPS // 2),
    "the version is registered": Place(module="sr_lab.workflows.loop", name="keep_reference"),
    "the gate has measured": Place(module="sr_lab.tracking.registry.aliases", name="record"),
    "the gate has decided": Place(module="sr_lab.workflows.loop", name="begin"),
}
"""Up to the rollout, in their order, each behind what the call before has done."""
ROLLOUT = {
    "it is champion": Place(module="sr_lab.tracking.registry.rollouts", name="take_step", call=2),
    "the rollout is over": Place(module="sr_lab.workflows.retrain", name="write_page"),
}
"""Behind the clients' requests; a third one in the same stage would be taken for a stage that never ends."""


class World:
    """A model with a champion, and what a service has kept of images that have changed."""

    def __init__(self, folder: Path, *, store: str) -> None:
        self.folder, self.store = folder, store

    @classmethod
    def make(cls, folder: Path) -> "World":
        """The first one; the folder is the working one."""
        made = cls(folder, store=f"sqlite:///{folder / 'mlflow.db'}")
        uri = setting("tracking_uri", made.store)
        assert main(["prepare", "data=photos"]) == 0
        make_holdout(Path("holdout"))
        make_reference(Path("before"), Condition(), num=WINDOW)
        run = ["experiment=edsr_tiny_x2_photos", "name=first", "output=first", setting("tracking.uri", made.store)]
        assert main(["train", *run, "max_steps=2", "val_every=2", "checkpoint_every=2", *TINY]) == 0
        assert main(["register", "run=first", "name=photos"]) == 0
        decision = {
            "outcome": "promote", "candidate": "photos/1", "champion": None, "sha256": "", "policy_sha256": "",
            "reasons": [],
        }  # fmt: skip
        aliases.promote(made.store, "photos", 1, decision=decision, who="test")
        assert main(["profile", "input=before", "output=first.parquet", "name=photos", uri]) == 0
        extractor, photos = Extractor(embedding=ContentEmbedding()), Photos(seed=1)
        kept = IncomingStore(Path("incoming.db"), settings=extractor.settings(), window=WINDOW)
        for number in range(WINDOW):
            data = photos.draw(Condition(noise=14, quality=50))
            pixels = np.asarray(Image.open(io.BytesIO(data)))
            estimate, features = extractor.measure(pixels, name=str(number), file=io.BytesIO(data))
            kept.append(f"r{number}", time=float(number), features=features, estimate=estimate)
        kept.close()
        return made

    def copied(self, name: str) -> "World":
        """Another one that is the same, in a folder and with a registry of its own."""
        folder = self.folder.parent / name
        shutil.copytree(self.folder, folder)
        made = World(folder, store=f"sqlite:///{folder / 'mlflow.db'}")
        assert main(["relocate", setting("tracking_uri", made.store)]) == 0
        return made

    @property
    def words(self) -> list[str]:
        """The command, the same each time."""
        tiny = "train=[" + ",".join(f'"{text}"' for text in TINY) + "]"
        return ["watch", "name=photos", setting("tracking_uri", self.store), *WATCH, tiny, 'promote=["device=cpu"]']

    def requests(self) -> None:
        """Bursts of clients in both stages of the rollout, a while ago."""
        now = rollouts.current(self.store, "photos")
        assert now is not None
        pairs, begin = PairStore(self.folder / "pairs.db"), time.time() - 10_000
        for number in range(24):
            pairs.append(
                now.id, time=begin + 100 * number, client=f"c{number}", stage="shadow" if number < 12 else "canary_50",
                served="champion", gains={"errors": 0.0},
            )  # fmt: skip
        pairs.close()

    def end(self) -> dict[str, Any]:
        """What is left at the end."""
        book = json.loads((self.folder / "watch" / "logbook.json").read_text())
        found, records = rollouts.current(self.store, "photos"), aliases.history(self.store, "photos")
        assert found is not None
        assert fetch_reference(self.store, "photos", 2, to=self.folder / "second.parquet")
        champion = download("models:/photos/2", tracking_uri=self.store, directory=self.folder / "second")
        (weights,) = champion.rglob(WEIGHTS)
        return {
            "aliases": aliases.aliases(self.store, "photos"),
            "attempt": book["attempt"],
            "ended": [(entry["outcome"], entry["version"]) for entry in book["ended"]],
            "rollout": (found.stage, found.candidate, found.base),
            "rollouts": len({record.step["id"] for record in records if record.step is not None}),
            "steps": [r.step["stage"] for r in records if r.step is not None and r.phase == "done"],
            "decisions": [r.action for r in records if r.step is None and r.phase == "done"],
            "faults": history(name="photos", tracking_uri=self.store).faults,
            "reference": read_profile(self.folder / "second.parquet").facts["images_sha256"],
            "weights": sha256(weights),
            "pages": sorted(file.name for file in (self.folder / "watch").glob("*-1/*.html")),
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("loop") / "start"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield World.make(folder)


@pytest.mark.timeout(1800)
def test_killed_in_every_stage_it_goes_on_to_the_same_end(world: World):
    srlab = Forked()

    def life(mine: World, kill: Callable[[dict[str, Place]], None]) -> dict[str, Any]:
        kill(PLACES)
        assert srlab.run(mine.words, mine.folder) == 75, srlab.said
        mine.requests()
        kill(ROLLOUT)
        assert srlab.run(mine.words, mine.folder) == 0, srlab.said
        return mine.end()

    whole = life(world.copied("whole"), lambda places: None)
    assert (whole["aliases"]["champion"], whole["attempt"], whole["faults"]) == (2, None, ())
    assert (whole["ended"], whole["rollout"]) == ([("promoted", 2)], ("finished", 2, 1))

    killed = world.copied("killed")

    def kill(places: dict[str, Place]) -> None:
        for place in places.values():
            assert srlab.run(killed.words, killed.folder, place=place) == -9

    assert life(killed, kill) == whole
