"""The loop through the public command line: champion, drift, retraining, gate."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from sr_lab.cli import main
from sr_lab.commands import demo_drift, train
from sr_lab.config.words import setting
from sr_lab.monitoring import read_profile
from sr_lab.tracking.registry.aliases import aliases

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.usefixtures("forked")]

TINY = ["trainer.enable_progress_bar=false", "pictures=0", "data.batch_size=4", "data.crop=32", "data.repeats=8"]
TINY += ["model.network.num_blocks=2", "model.network.num_features=16", "preflight=false", "trainer.accelerator=cpu"]
STEPS = 160


class Loop:
    """A champion of clean photos, and what its inputs looked like."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, f"sqlite:///{folder / 'mlflow.db'}"
        assert main(["prepare", "data=photos"]) == 0
        self.before, self.same, self.now, self.holdout = demo_drift.make_inputs(folder, noise=14, quality=50)
        champion = folder / "champion"
        settings = ["experiment=edsr_tiny_x2_photos", "name=c", setting("output", champion)]
        settings += [setting("tracking.uri", self.store)]
        steps = [f"max_steps={STEPS}", f"val_every={STEPS}", f"checkpoint_every={STEPS}", "tracking.drain_seconds=60"]
        assert main(["train", *settings, *steps, *TINY]) == 0
        assert main(["register", setting("run", champion), "name=photos"]) == 0
        floors = ["policy.checks.psnr_floor.value=10", "policy.checks.psnr_worst.value=5", "device=cpu"]
        floors += ["policy.first_champion=passes_floors"]
        where = [setting("policy.holdout.photos.benchmark", self.holdout), setting("tracking_uri", self.store)]
        assert main(["promote", "name=photos", *where, *floors, "metrics=[psnr,ssim]"]) == 0
        self.profile = folder / "first.parquet"
        assert main(["profile", setting("input", self.before), setting("output", self.profile)]) == 0

    def retrain(self, current: Path, reference: Path, output: Path, *more: str) -> int:
        checks = ["policy.checks.psnr_new.min_scenes=8", "policy.checks.psnr_old.min_scenes=8"]
        checks += ["policy.checks.psnr_old.margin=1", "policy.alpha=0.3"]  # eight scenes, on any processor
        checks += ["~policy.checks.ssim_new", "~policy.checks.ssim_old"]
        checks += ["policy.checks.psnr_floor.value=10", "policy.checks.latency.limit=100"]
        tiny = "train=[" + ",".join(f'"{text}"' for text in [*TINY, "tracking.drain_seconds=60"]) + "]"
        given = ["name=photos", "experiment=edsr_tiny_x2_photos", setting("reference", reference)]
        given += [setting("current", current), setting("holdout", self.holdout), setting("output", output)]
        given += [f"steps={STEPS}", setting("tracking_uri", self.store)]
        return main(["retrain", *given, *checks, tiny, 'promote=["device=cpu"]', "lr_factor=1", *more])

    @property
    def champion(self) -> int:
        return aliases(self.store, "photos")["champion"]


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("loop") / "Ann's models (2), x=1"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield Loop(folder)


@pytest.fixture
def reference(loop: Loop, tmp_path: Path) -> Path:
    return Path(shutil.copy(loop.profile, tmp_path / "reference.parquet"))


def test_without_drift_nothing_is_trained(loop, reference, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "call", lambda cfg: pytest.fail("it was trained"))
    assert loop.retrain(loop.same, reference, tmp_path / "out", 'drift=["alpha=0.001"]') == 0
    assert not (tmp_path / "out" / "logbook.json").exists()


def test_cool_down_and_budget_refuse_with_the_numbers(loop, reference, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "call", lambda cfg: pytest.fail("it was trained"))
    assert loop.retrain(loop.now, reference, tmp_path / "out", "retraining.max_cost=0") == 6
    assert "minutes of cpu cost 0.00 EUR, more than max_cost=0" in capsys.readouterr().out
    assert "budget: " in (tmp_path / "out" / "latest" / "retrain.html").read_text()
    past = {"name": "20200101-1", "end": "2099-01-01T00:00:00+00:00", "outcome": "rejected", "cost": 1, "version": 2}
    (tmp_path / "out" / "logbook.json").write_text(json.dumps({"attempt": None, "ended": [past]}))
    assert loop.retrain(loop.now, reference, tmp_path / "out") == 6
    assert "cool-down: the last retraining was" in capsys.readouterr().out


def test_what_would_end_a_retraining_shows_before_anything_is_looked_at(loop, reference, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sr_lab.commands.drift.call", lambda cfg: pytest.fail("it looked for drift"))
    (low := tmp_path / "paired" / "LR").mkdir(parents=True)
    for folder in (low, low.with_name("HR")):
        shutil.copytree(loop.holdout, folder, dirs_exist_ok=True)
    known = Path("data/photos/val")
    for change, code, said in (
        ("experiment=edsr_tiny_x2", 2, "Did you mean 'edsr_tiny_x2_photos'"),
        ("experiment=edsr_tiny_x4_t91_bsds400", 1, "is for scale 4, the champion for 2"),
        ('train=["data=t91_bsds400"]', 1, "data.val brings its own low images"),
        ('promote=["event=hook"]', 2, "Did you mean 'events'"),
        (setting("holdout", tmp_path / "nowhere"), 1, "is not a folder"),
        (setting("holdout", low.parent), 1, "brings its own low images (LR/)"),
        (setting("holdout", known), 1, f"trained or selected on {len(list(known.iterdir()))} of "),
        ("policy.checks.psnr_new.min_scenes=20", 1, "shows 8 scenes, policy retrain asks for 20 or more"),
    ):
        assert loop.retrain(loop.same, reference, tmp_path / "out", change) == code, change
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out" / "logbook.json").exists()


def test_a_second_retraining_leaves_and_a_misspelt_share_is_refused(loop, reference, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"):
        assert loop.retrain(loop.now, reference, tmp_path / "out") == 75
    assert "another retraining of photos is running" in capsys.readouterr().out
    assert loop.retrain(loop.now, reference, tmp_path / "out", "share_new=1") == 1
    assert "share_new=1" in capsys.readouterr().err


def test_a_failed_retraining_changes_nothing_and_is_given_up(loop, reference, tmp_path, monkeypatch, capsys):
    def fail(cfg: object) -> int:
        raise RuntimeError("the disk is full")

    before = loop.champion, reference.read_bytes()
    monkeypatch.setattr(train, "call", fail)
    for _ in range(2):
        assert loop.retrain(loop.now, reference, tmp_path / "out", "num_trials=2") == 1
        assert "the disk is full" in capsys.readouterr().err
    assert loop.retrain(loop.now, reference, tmp_path / "out", "num_trials=2") == 1
    assert "begun 2 times and never ended" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "logbook.json").read_text())["ended"][0]["outcome"] == "failed"
    assert (loop.champion, reference.read_bytes()) == before


def test_drift_is_answered_by_a_better_champion(loop, reference, tmp_path, monkeypatch, capsys):
    """Noisy JPEG images come in; the runner is preempted once in the training and once before the gate."""
    output, former = tmp_path / "out", reference.read_bytes()
    started = loop.champion
    real = train.call
    calls: list[str] = []

    def preempted(cfg):
        calls.append("train")
        if len(calls) == 1:
            cfg.max_seconds = 0.001
        return real(cfg)

    monkeypatch.setattr(train, "call", preempted)
    assert loop.retrain(loop.now, reference, output) == 75
    assert loop.champion == started
    monkeypatch.setattr("sr_lab.commands.promote.call", lambda cfg, **_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert loop.retrain(loop.now, reference, output) == 130
    monkeypatch.undo()
    monkeypatch.chdir(loop.folder)
    monkeypatch.setattr(train, "call", lambda cfg: pytest.fail("it was trained again"))
    assert loop.retrain(loop.now, reference, output) == 0
    said = capsys.readouterr().out
    assert "going on with" in said
    assert "pass  psnr_new: psnr_y on benchmark_new: gain +" in said
    assert "pass  psnr_old: psnr_y on benchmark_old: gain " in said
    assert loop.champion == started + 1
    assert len(read_profile(reference).table) == len(list(loop.now.iterdir()))
    (kept,) = reference.parent.glob("reference.before-*.parquet")
    assert kept.read_bytes() == former
    (folder,) = [file.parent for file in output.glob("*/retrain.json")]
    story = json.loads((folder / "retrain.json").read_text())
    assert story["outcome"] == "promoted"
    assert {"noise", "quality"} <= {change["name"] for change in story["changes"]}
    page = (folder / "retrain.html").read_text()
    assert "promoted" in page
    assert "http" not in page
    recipe = yaml.safe_load((folder / "train.yaml").read_text())
    assert recipe["degradation"]["ops"]["mixture"]["weights"] == {"old": 0.5, "new": 0.5}
    assert recipe["data"]["degradation"] == recipe["degradation"]
    assert recipe["degradation"]["ops"]["mixture"]["ops"]["old"]["_target_"].endswith("Bicubic")
