"""The service measures a sample of what comes in, tells drift on /metrics, and nobody waits for it."""

import io
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving.conftest import decoded, encoded, make, picture
from starlette.testclient import TestClient

from sr_lab.monitoring import Extractor, measure_folder, write_profile
from sr_lab.monitoring.embedding import ContentEmbedding
from sr_lab.monitoring.incoming import IncomingStore
from sr_lab.serving.app import make_app
from sr_lab.serving.incoming import Incoming

WINDOW = 20


def jpeg(seed: int, quality: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture(64, 64, seed=seed)).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("before")
    for seed in range(40):
        (folder / f"{seed:02}.jpg").write_bytes(jpeg(seed, 95))
    write_profile(
        measure_folder(folder, Extractor(embedding=ContentEmbedding())), folder.with_suffix(".parquet")
    )  # fmt: skip
    return folder.with_suffix(".parquet")


class Watched:
    """A service that measures what comes in."""

    def __init__(self, file: Path, profile: Path | None, **options) -> None:
        self.versions = {"1": profile}
        settings = {"share": 1.0, "cpu": 1.0, "window": WINDOW, "horizon": 2, **options}
        self.incoming = Incoming(file=str(file), embedding=ContentEmbedding(), **settings)
        self.parts, self.source = make(inputs=self.incoming)
        self.asked: list[str] = []

        def fetch(version: str, to: Path) -> bool:
            self.asked.append(version)
            found = self.versions.get(version)
            if found is not None:
                to.write_bytes(found.read_bytes())
            return found is not None

        shelf = self.parts.service.shelf
        self.incoming.start(
            self.parts.service.measures.registry, version=lambda: shelf.states[0].current.version, fetch=fetch
        )
        self.client = TestClient(make_app(self.parts), raise_server_exceptions=False)

    def send(self, data: bytes) -> int:
        return self.client.post("/v1/restore", content=data).status_code

    def send_window(self, quality: int, start: int) -> None:
        """A window of images; the last of them is a request's, the others are as if they had been."""
        store, images = self.incoming.store, {f"r{seed}": jpeg(seed, quality) for seed in range(start, start + WINDOW)}
        for name, data in list(images.items())[:-1]:
            pixels = np.asarray(Image.open(io.BytesIO(data)))
            estimate, features = self.incoming.extractor.measure(pixels, name=name, file=io.BytesIO(data))
            store.append(name, time=time.time(), features=features, estimate=estimate)
        assert self.send(list(images.values())[-1]) == 200
        self.until(lambda: store.num_images % WINDOW == 0)

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        assert found, name
        return float(found[1])

    def until(self, holds, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.fixture
def watched(tmp_path: Path, profile: Path) -> Iterator[Watched]:
    made = Watched(tmp_path / "incoming.db", profile)
    with made.client:
        yield made


def test_drift_raises_the_alarm_and_the_reference_of_the_next_version_ends_it(watched, tmp_path):
    watched.send_window(95, start=100)
    watched.until(lambda: watched.metric("srlab_drift_window_images") == WINDOW)
    assert watched.metric("srlab_drift_reference") == 1
    assert watched.metric("srlab_drift_alarm") == 0
    assert watched.metric("srlab_drift_p_value") > 0.05
    before = watched.metric('srlab_drift_feature_shift{feature="quality"}')
    watched.send_window(30, start=200)
    watched.until(lambda: watched.metric("srlab_drift_alarm") == 1)
    assert watched.metric("srlab_drift_p_value") < 0.025
    assert watched.metric('srlab_drift_feature_shift{feature="quality"}') > before + 1
    assert watched.metric("srlab_drift_images_sampled_total") == 2
    kept = tmp_path / "next.parquet"
    window = watched.incoming.store.latest()
    assert window is not None
    write_profile(window, kept)
    watched.versions["2"], watched.source.now = kept, "2"
    assert watched.parts.service.shelf.follow()
    watched.until(lambda: watched.metric("srlab_drift_alarm") == 0)
    watched.send_window(30, start=300)
    watched.until(lambda: watched.metric("srlab_drift_p_value") > 0.05)
    assert watched.metric("srlab_drift_alarm") == 0
    assert watched.asked == ["1", "2"]


def test_what_cannot_be_used_is_counted_by_kind_and_no_word_of_it_is_kept(watched):
    image = jpeg(1, 95)
    for index in range(WINDOW):
        before = watched.incoming.store.num_images
        data = (b"secret of a client", encoded(np.full((40, 40, 3), 7, np.uint8)), image)[min(index // 5, 2)]
        watched.send(data)
        watched.until(lambda before=before: watched.incoming.store.num_images > before)
    watched.until(lambda: watched.metric("srlab_drift_alarm") == 1)
    shares = {
        kind: watched.metric(f'srlab_drift_unusable_ratio{{kind="{kind}"}}')
        for kind in ("unreadable", "of one value", "repeated")
    }
    assert shares == {"unreadable": 0.25, "of one value": 0.25, "repeated": 0.45}
    before = watched.incoming.store.num_images
    watched.client.post("/v1/restore", content=image, headers={"X-Request-ID": "probe-1"})
    assert watched.send(image) == 200
    watched.until(lambda: watched.incoming.store.num_images > before)
    assert watched.incoming.store.num_images == before + 1, "what only tries the service is not counted"
    rows = watched.incoming.store._database.execute("SELECT * FROM images").fetchall()
    assert "secret" not in str(rows)
    assert not any(isinstance(value, bytes) for row in rows for value in row)


def test_a_request_waits_for_nothing_and_what_comes_too_fast_is_dropped(tmp_path, profile, monkeypatch):
    held = threading.Event()
    real = Extractor.measure

    def slow(*given, **more):
        assert held.wait(120)
        return real(*given, **more)

    monkeypatch.setattr(Extractor, "measure", slow)
    watched = Watched(tmp_path / "incoming.db", profile)
    with watched.client:
        for seed in range(12):
            answer = watched.client.post("/v1/restore", content=jpeg(seed, 90))
            assert answer.status_code == 200
            assert decoded(answer.content).shape == (128, 128, 3)
        assert watched.metric('srlab_drift_images_dropped_total{reason="busy"}') >= 3
        held.set()


def test_a_failure_in_it_fails_no_request_and_without_a_reference_nothing_is_compared(tmp_path, monkeypatch):
    watched = Watched(tmp_path / "incoming.db", None)
    with watched.client:
        watched.send_window(50, start=0)
        watched.until(lambda: watched.metric("srlab_drift_window_images") == WINDOW)
        assert (watched.metric("srlab_drift_reference"), watched.metric("srlab_drift_alarm")) == (0, 0)

        def broken(*given, **more):
            raise OSError("the disk is full")

        monkeypatch.setattr(IncomingStore, "append", broken)
        assert watched.send(jpeg(1, 90)) == 200
        watched.until(lambda: watched.metric('srlab_drift_images_dropped_total{reason="failed"}') == 1)
        assert watched.send(encoded(picture(201, 199))) in (200, 413)
    watched.incoming.close()


def test_settings_that_make_no_sense_are_refused(tmp_path):
    for wrong in ({"share": 0.0}, {"cpu": 1.5}, {"window": 5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Incoming(file=str(tmp_path / "x.db"), embedding=ContentEmbedding(), **wrong)
