"""A release through the public command line: register, promote, approve, compare, and back."""

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from holding import PATIENCE, environment, signalled

from sr_lab.artefacts.artefact import save_artefact
from sr_lab.cli import main
from sr_lab.commands import promote
from sr_lab.config.compose import build, compose
from sr_lab.evaluation import scoring
from sr_lab.images import resize_bicubic, to_array, to_tensor, write_image
from sr_lab.images.found import Found, Reading
from sr_lab.networks.base import Network
from sr_lab.networks.compact import Compact
from sr_lab.networks.srcnn import SRCNN
from sr_lab.study.ballots import Ballot
from sr_lab.study.plan import Plan
from sr_lab.tasks.base import Pixels
from sr_lab.tasks.ocr import Ocr, Reader
from sr_lab.tracking.registry import decisions
from sr_lab.tracking.registry.aliases import ConflictError, aliases, history
from sr_lab.tracking.registry.ledger import Record
from sr_lab.tracking.run import Run
from sr_lab.tracking.shipping import Shipper
from sr_lab.tracking.store import connect
from sr_lab.workflows.load import fetch_artefact
from sr_lab.workflows.release import Release, contenders, evidence, release
from sr_lab.workflows.release import people as release_people

pytestmark = pytest.mark.usefixtures("forked")

Capture = pytest.CaptureFixture[str]
ONLY = ["~policy.checks.psnr_hardest", "~policy.checks.psnr_texture", "~policy.checks.psnr_flat",
        "~policy.checks.psnr_face", "~policy.checks.ssim_texture", "policy.checks.latency.limit=1000",
        "policy.checks.latency.min_runs=4", "policy.first_champion=passes_floors"]  # fmt: skip
SIZES = {"scale": 2, "num_channels": 3, "num_features": [4, 4]}
NODE = {"_target_": "sr_lab.networks.srcnn.SRCNN", **SIZES}


def picture(seed: int) -> np.ndarray:
    """Soft-edged blocks and a little noise, (48, 56, 3) uint8."""
    random = np.random.default_rng(seed)
    blocks = to_tensor((255 * np.kron(random.random((6, 7, 3)), np.ones((4, 4, 1)))).astype(np.uint8))
    image = to_array(resize_bicubic(blocks, scale=2.0).clamp(0, 1)).astype(float)
    return (image + 2 * random.standard_normal(image.shape)).round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures for the gate, a few to train and validate on."""
    root = tmp_path_factory.mktemp("photos")
    for split, first, count in (("holdout", 0, 20), ("train", 100, 3), ("val", 200, 2)):
        for index in range(count):
            write_image(root / split / f"{index:02}.png", picture(first + index))
    return root


def sharpener(amount: float) -> SRCNN:
    """Bicubic enlargement, sharpened; the amount decides how good it is."""
    network = SRCNN(**SIZES).eval()
    convolutions = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)]
    for layer in convolutions:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        centre = layer.weight.shape[-1] // 2
        for channel in range(3):
            layer.weight.data[channel, channel, centre, centre] = 1.0
    last = convolutions[-1].weight.data
    for channel in range(3):
        last[channel, channel, 1:4, 1:4] -= amount / 9
        last[channel, channel, 2, 2] += amount
    return network


class Registry:
    """A store that is set up (its migrations take seconds), and models that are trained by nobody."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.client = connect(self.uri)
        self.name = "unnamed"
        self._count = 0

    def add(self, amount: float, *, images: dict[str, list[str]] | None) -> int:
        """Registers a version as candidate; gives its number."""
        return self.keep(sharpener(amount), {"model": {"network": NODE}}, images=images)

    def keep(self, network: Network, config: dict[str, Any], *, images: dict[str, list[str]] | None) -> int:
        """The same of any network."""
        self._count += 1
        folder = self.folder / f"run{self._count}"
        metadata = {"data_version": "d" * 64, "metrics": {"val/psnr_y": 30.0}}
        known = {} if images is None else {"images": images}
        model = save_artefact(folder / "model", network, config=config, metadata=metadata | known)
        (model / "MLmodel").write_text("flavors: {}\n")
        run = Run(
            uri=self.uri, experiment="e", name="r", directory=folder / "tracking", ship=False, system_seconds=0,
            observe=False,
        )  # fmt: skip
        run.log_model(model)
        run.finish()
        Shipper(run.spool).ship()
        assert main(["register", f"run={folder}", f"name={self.name}"]) == 0
        return self.aliases["candidate"]

    @property
    def aliases(self) -> dict[str, int]:
        return aliases(self.uri, self.name)

    @property
    def records(self) -> list[Record]:
        return [record for record in history(self.uri, self.name) if record.phase == "done"]

    @property
    def actions(self) -> list[str]:
        return [record.action for record in self.records]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(tmp_path_factory.mktemp("registry"))


@pytest.fixture
def net(registry: Registry, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The store with a model of its own for each test, in the working directory."""
    monkeypatch.chdir(registry.folder)
    registry.name = f"net{registry._count}"
    return registry


def add(net: Registry, amount: float) -> int:
    return net.add(amount, images={"train": [], "val": []})


def settings(net: Registry, photos: Path, *more: str) -> list[str]:
    where = f"policy.holdout.photos.benchmark={photos / 'holdout'}"
    return [f"name={net.name}", where, *ONLY, "device=cpu", "runs=4", "num_pictures=2", "metrics=[psnr,ssim]", *more]


def go(net: Registry, photos: Path, *more: str) -> int:
    return main(["promote", *settings(net, photos, *more)])


def test_a_first_champion_that_is_no_better_than_bicubic_is_refused(
    photos: Path, net: Registry, capsys: Capture
) -> None:
    add(net, -0.6)
    assert go(net, photos, "policy.first_champion=beats_baseline") == 3
    assert "fail  baseline: " in capsys.readouterr().out
    page = Path(f"runs/promotion/{net.name}/version-1.html").read_text(encoding="utf-8")
    assert f"The candidate {net.name}/1 as the first champion, under policy default" in page
    assert go(net, photos, "version=two") == 2
    assert "version=two" in capsys.readouterr().err


def test_a_release_a_refusal_and_the_way_back(
    photos: Path, net: Registry, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = net.name
    add(net, 0.0)
    assert go(net, photos) == 0
    said = capsys.readouterr().out
    assert f"{name}/1 with no champion yet, policy default" in said
    assert "skip  psnr: there is no champion yet" in said
    assert "pass  psnr_floor" in said
    assert net.aliases == {"champion": 1}

    add(net, 0.4)
    assert go(net, photos, "events=hook", 'events.command="echo $SRLAB_EVENT $SRLAB_VERSION > told"') == 0
    said = capsys.readouterr().out
    assert "pass  psnr: psnr_y on all: gain +" in said
    assert "PROMOTE" in said
    assert f"{name} version 2 is models:/{name}@champion" in said
    assert net.aliases == {"champion": 2, "previous": 1}
    assert Path("told").read_text() == "promote 2\n"

    add(net, -0.6)
    assert go(net, photos, "metrics=[psnr,ssim,lpips,lr_consistency,hallucination]", "num_pictures=8") == 3
    said = capsys.readouterr().out
    assert "fail  psnr: psnr_y on all: gain -" in said
    assert "REJECT: psnr" in said
    assert "  lr_consistency: lr_consistency on all: gain " in said
    assert "  hallucination: hallucination on all: gain " in said
    assert "pass  memory: memory_bytes: highest ratio 1.000" in said
    assert "20 images, 20 scenes" in said
    assert net.aliases == {"champion": 2, "previous": 1, "candidate": 3}
    assert net.actions == ["promote", "promote", "reject"]
    with monkeypatch.context() as patch:
        patch.setattr(evidence, "score", None)  # nothing is measured again
        again = ["metrics=[psnr,ssim,lpips,lr_consistency,hallucination]", "num_pictures=8"]
        assert go(net, photos, *again) == 3
    assert "nothing has changed since record" in capsys.readouterr().out
    assert net.actions == ["promote", "promote", "reject", "reject"]

    page = Path(f"runs/promotion/{name}/version-3.html").read_text(encoding="utf-8")
    for words in ("Rejected", "REJECT: psnr", f"Where {name}/3 lost most", "benchmark_photos", "degradation_Bicubic"):
        assert words in page
    assert page.count("<article") == 8
    assert not re.search(r"(?:src|href)=['\"](?!data:|#)", page)
    run = net.client.get_model_version(name, "3").run_id
    (folder,) = net.client.list_artifacts(run, f"promotion/{name}-3")
    kept = json.loads(Path(net.client.download_artifacts(run, f"{folder.path}/evidence.json")).read_text())
    assert kept["decision"]["sha256"] == net.records[-1].decision
    assert len(kept["models"][0]["rows"]) == 20

    assert main(["rollback", f"name={name}", "reason=text got worse"]) == 0
    assert net.aliases == {"champion": 1, "candidate": 3}


def test_a_candidate_that_has_seen_the_holdout_or_has_no_history_is_refused(
    photos: Path, net: Registry, capsys: Capture
) -> None:
    digest = hashlib.sha256((photos / "holdout" / "00.png").read_bytes()).hexdigest()
    cases: list[tuple[dict[str, list[str]] | None, str]] = [
        ({"train": [], "val": [digest]}, "trained or selected on 1 of 20 images (photos/00)"),
        ({"train": [digest], "val": []}, "trained or selected on 1 of 20 images (photos/00)"),
        (None, "its run has no record of it"),
    ]
    for images, words in cases:
        net.add(0.4, images=images)
        assert go(net, photos) == 3
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "fail  history: " in line]
        assert words in line
    assert net.actions == ["reject"] * 3


def test_models_are_judged_as_they_are_served_projected(photos: Path, net: Registry, capsys: Capture) -> None:
    add(net, 0.2)
    assert go(net, photos, "consistency=nearly") == 1
    assert "consistency=nearly: exact, or null" in capsys.readouterr().err
    assert go(net, photos, "consistency=exact", "metrics=[psnr,ssim,lr_consistency]") == 0
    document = decisions.fetch(net.uri, net.name, 1, decision=str(net.records[-1].decision))
    assert document is not None
    found = evidence.Evidence.parse(document)
    assert found.facts["settings"].endswith("consistency exact")
    assert min(row.metrics["lr_consistency"] for row in found.models[0].rows) > 50, "of images of 8 bits, some cut off"


def test_a_real_signal_while_models_are_measured_changes_nothing_and_the_same_line_goes_on(
    photos: Path, net: Registry, tmp_path: Path
) -> None:
    """SIGTERM to processes of their own, once they are at the first score; then the same lines without the hold."""
    version, run = add(net, 0.2), Path(f"run{net._count}").resolve()
    held = ["metrics.psnr_y._target_=held.HeldPSNR", f"+metrics.psnr_y.folder={tmp_path}"]
    env = environment(tmp_path)
    model = [f"restorer={run / 'model'}", f"run={run}", f"benchmark={photos / 'val'}", "scale=2", "device=cpu"]
    lines = {
        "promote": settings(net, photos),
        "evaluate": [*model, f"report={tmp_path / 'report'}", "metrics=[psnr,ssim]", "num_pictures=1"],
    }
    for command, words in lines.items():
        line = [sys.executable, "-m", "sr_lab.cli", command, *words, *held]
        process = subprocess.Popen(line, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            signalled(process, tmp_path, "metric")
            told = process.communicate(timeout=PATIENCE)[1]
        finally:
            process.kill()
        for name in ("go", "metric.there"):
            (tmp_path / name).unlink()
        assert process.returncode == 143, told
        assert "stopped by SIGTERM: while the" in told
        assert "Traceback" not in told
    assert (net.aliases, net.actions) == ({"candidate": version}, [])
    assert not Path(f"runs/promotion/{net.name}").exists()
    assert not list((tmp_path / "report").glob("*"))
    assert "test/" not in (run / "tracking" / "events.jsonl").read_text()
    assert main(["evaluate", *lines["evaluate"]]) == 0
    assert "test/" in (run / "tracking" / "events.jsonl").read_text()
    assert main(["promote", *lines["promote"]]) == 0
    assert net.aliases == {"champion": version}


def test_images_of_one_scene_count_once_and_the_same_weights_are_no_improvement(
    photos: Path, net: Registry, tmp_path: Path, capsys: Capture
) -> None:
    clips = tmp_path / "clips"
    for file in sorted((photos / "holdout").iterdir()):
        target = clips / "holdout" / f"clip{int(file.stem) // 4}" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    add(net, 0.4)
    assert go(net, photos) == 0
    add(net, 0.4)
    assert go(net, clips) == 3
    assert "20 images of 5 scenes cannot decide; the policy asks for 20 scenes" in capsys.readouterr().out
    assert go(net, photos) == 3
    assert "is the same on every image" in capsys.readouterr().out
    assert go(net, photos, "policy.accept_identical=true", "events=hook", 'events.command="exit 3"') == 5
    assert net.aliases == {"champion": 2, "previous": 1}, "the promotion stands, though the hook failed"


def test_approval_is_for_exactly_what_was_measured(
    photos: Path, net: Registry, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, ask = net.name, "policy.approval=true"
    add(net, 0.0)
    assert go(net, photos) == 0
    assert main(["approve", f"name={name}", "by=Anna"]) == 1
    assert "waits for approval" in capsys.readouterr().err
    add(net, 0.4)
    assert go(net, photos, ask) == 4
    said = capsys.readouterr().out
    assert "APPROVAL NEEDED" in said
    assert f"srlab approve name={name} version=2" in said
    assert net.aliases == {"champion": 1, "candidate": 2}
    asked = net.records[-1].decision
    assert asked is not None

    def score(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(evidence, "score", score)
    assert go(net, photos, ask) == 4, "still waiting for the same decision"
    assert net.records[-1].decision == asked
    capsys.readouterr()
    assert main(["approve", f"name={name}", "by=Anna Smith", "version=1"]) == 1
    assert "version=1 does not wait for approval, version 2 does" in capsys.readouterr().err
    assert main(["approve", f"name={name}", "by=Anna Smith", "version=2"]) == 0
    said = capsys.readouterr().out
    assert "pass  psnr: psnr_y on all: gain +" in said, "what is agreed to is shown"
    assert f"Anna Smith agrees to decision {asked[:12]} on {name} version 2" in said
    assert main(["approve", f"name={name}", "by=Bob"]) == 1
    assert "Anna Smith has approved it already" in capsys.readouterr().err
    assert go(net, photos, ask) == 0
    assert "pass  approval: given by Anna Smith" in capsys.readouterr().out
    assert [(record.action, record.who) for record in net.records if record.action == "approve"] == [
        ("approve", "Anna Smith")
    ]
    assert net.records[-1].decision == asked
    assert net.aliases == {"champion": 2, "previous": 1}
    assert "approved by Anna Smith" in Path(f"runs/promotion/{name}/version-2.html").read_text(encoding="utf-8")
    assert main(["history", f"name={name}"]) == 0
    assert "Anna Smith  approve: version 2" in capsys.readouterr().out


def test_an_approval_does_not_hold_for_other_numbers_another_policy_or_another_champion(
    photos: Path, net: Registry, capsys: Capture
) -> None:
    name, ask = net.name, "policy.approval=true"
    add(net, 0.0)
    assert go(net, photos) == 0
    add(net, 0.2)
    version = add(net, 0.4)
    assert go(net, photos, ask) == 4
    assert main(["approve", f"name={name}", "by=Anna"]) == 0
    run = net.client.get_model_version(name, str(version)).run_id
    (folder,) = net.client.list_artifacts(run, f"promotion/{name}-{version}")
    file = Path(net.client.download_artifacts(run, f"{folder.path}/evidence.json"))
    content: dict[str, Any] = json.loads(file.read_text())
    content["models"][0]["rows"][0]["metrics"]["psnr_y"] += 1
    (changed := Path("evidence.json")).write_text(json.dumps(content))
    net.client.log_artifact(run, str(changed), folder.path)
    assert go(net, photos, ask) == 4
    assert "were changed: measured anew" in capsys.readouterr().out
    assert main(["approve", f"name={name}", "by=Anna"]) == 0
    assert go(net, photos, ask, "policy.checks.psnr.margin=0.06") == 4
    assert main(["approve", f"name={name}", "by=Anna"]) == 0
    assert go(net, photos, "version=2") == 0
    assert go(net, photos, ask, "policy.checks.psnr.margin=0.06") == 4
    assert net.aliases == {"champion": 2, "previous": 1, "candidate": version}


def test_a_champion_that_changes_meanwhile_stays(photos: Path, net: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    for amount in (0.0, 0.2, 0.4):
        add(net, amount)
    assert go(net, photos, "version=1") == 0

    def slow(*arguments: Any, **settings: Any) -> object:
        monkeypatch.setattr(evidence, "score", scoring.score)
        assert go(net, photos, "version=2") == 0
        return scoring.score(*arguments, **settings)

    monkeypatch.setattr(evidence, "score", slow)
    with pytest.raises(ConflictError):
        promote.call(compose("promote", settings(net, photos)))
    assert net.aliases == {"champion": 2, "previous": 1, "candidate": 3}
    assert net.actions == ["promote", "promote"]


def test_what_cannot_be_decided_is_an_error_and_changes_nothing(
    photos: Path, net: Registry, tmp_path: Path, capsys: Capture
) -> None:
    assert go(net, photos) == 1
    assert net.name in capsys.readouterr().err
    add(net, 0.0)
    for change, message in (
        (["policy.protocol=rgb_crop"], "policy default asks for protocol=rgb_crop, given is y_crop"),
        (["version=7"], "7"),
        ([f"policy.holdout.photos.benchmark={tmp_path / 'nowhere'}"], "is not a folder"),
    ):
        assert go(net, photos, *change) == 1
        assert message in capsys.readouterr().err
    assert main(["promote", f"name={net.name}", "policy=strict_medical"]) == 2
    assert "policy.holdout.scans.benchmark has no value" in capsys.readouterr().err
    broken = tmp_path / "broken" / "holdout"
    broken.mkdir(parents=True)
    (broken / "a.png").write_bytes(b"no image")
    assert go(net, tmp_path / "broken") == 1
    assert "photos/a could not be scored at all" in capsys.readouterr().err
    assert net.actions == []
    assert go(net, photos) == 0
    capsys.readouterr()
    assert go(net, photos) == 1
    assert f"{net.name} has no candidate: run  srlab register" in capsys.readouterr().err


def test_compare_shows_both_side_by_side(photos: Path, net: Registry, tmp_path: Path, capsys: Capture) -> None:
    add(net, 0.4)
    model, place = f"models:/{net.name}@candidate", ["scale=2", "report=out", "device=cpu", "num_pictures=3"]
    assert main(["compare", f"a={model}", "b=bicubic", f"benchmark={photos / 'holdout'}", *place]) == 0
    said = capsys.readouterr().out
    assert "psnr_y: " in said
    assert "90% interval [+" in said
    numbers = json.loads(Path("out/compare.json").read_text())
    line = next(line for line in numbers["lines"] if (line["slice"], line["metric"]) == ("all", "psnr_y"))
    assert line["gain"] == pytest.approx(line["ours"] - line["theirs"])
    assert line["low"] < line["gain"] < line["high"]
    page = Path("out/compare.html").read_text(encoding="utf-8")
    assert page.count("<article") == 3
    assert f"{model} against bicubic" in page
    assert main(["compare", "a=bicubic", "b=bicubic", f"benchmark={photos / 'holdout'}", *place]) == 1
    one = tmp_path / "one"
    one.mkdir()
    (one / "a.png").write_bytes((photos / "holdout" / "00.png").read_bytes())
    assert main(["compare", "a=bicubic", f"b={model}", f"benchmark={one}", *place]) == 0
    assert "not known" in Path("out/compare.html").read_text(encoding="utf-8"), "one image has no interval"


def test_an_export_in_int8_is_judged_like_any_candidate_and_shares_the_lineage(
    photos: Path, net: Registry, capsys: Capture, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    torch.manual_seed(0)
    node = {"_target_": "sr_lab.networks.compact.Compact", "scale": 2, "num_features": 4, "num_convs": 1}
    network = Compact(scale=2, num_features=4, num_convs=1)
    for parameter in network.parameters():  # not far from its nearest-neighbour base
        parameter.data.mul_(0.5)
    net.keep(network.eval(), {"model": {"network": node}}, images={"train": [], "val": []})
    assert go(net, photos) == 0
    champion = net.aliases["champion"]
    words = [f"restorer=models:/{net.name}@champion", f"tracking_uri={net.uri}", "precision=int8", "num_runs=1"]
    output = tmp_path / "int8"
    judged = [f"benchmark={photos / 'holdout'}", f"calibration={photos / 'holdout'}", "worst_loss=1", "mean_loss=1"]
    assert main(["export", *words, *judged, f"output={output}"]) == 0
    capsys.readouterr()
    for _ in range(2):  # the same export is one version
        assert main(["register", f"run={output}", f"name={net.name}", f"uri={net.uri}"]) == 0
    number = net.aliases["candidate"]
    assert number == champion + 1
    version = net.client.get_model_version(net.name, str(number))
    assert version.tags["export.of"] == f"{net.name}/{champion}"
    assert version.tags["export.precision"] == "int8"
    assert f"export of version {champion} of {net.name} in int8" in version.description
    assert f"{network.num_parameters:,} parameters" in version.description

    assert go(net, photos, "policy.checks.psnr_floor.value=60") == 3, "refused as any candidate is"
    assert "fail  psnr_floor" in capsys.readouterr().out
    assert net.aliases["champion"] == champion
    # what an export takes is the process' resident memory, which the other threads of the tests change, too
    passes = ["policy.checks.psnr.margin=1", "policy.checks.memory.limit=1000", "policy.accept_identical=true"]
    assert go(net, photos, *passes) == 0
    assert net.aliases["champion"] == number
    restored = tmp_path / "by_the_champion.png"
    settings_ = [f"restorer=models:/{net.name}@champion", f"tracking_uri={net.uri}", f"output={restored}"]
    assert main(["restore", f"input={photos / 'val' / '00.png'}", *settings_]) == 0
    assert restored.exists()


def test_people_are_evidence_that_is_bound_to_the_weights_and_expires(
    photos: Path, net: Registry, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(net, 0.0)
    assert go(net, photos) == 0
    add(net, 0.4)
    asked = tmp_path / "study"
    names = [f"models:/{net.name}/{version}" for version in (1, 2)]
    words = [f"images={photos / 'holdout'}", f"output={asked}", "raters=6", "votes=20", "side=48", "metrics=[psnr]"]
    assert main(["study", "create", f"restorers=[{','.join(names)}]", *words, "rules.min_votes=5"]) == 0
    answered(asked, prefers=names[1])
    assert go(net, photos, f"people={asked}") == 1
    assert "policy default has no check of what people prefer" in capsys.readouterr().err
    people = ["+policy.checks.people._target_=sr_lab.promotion.people.Preferred", f"people={asked}"]

    with monkeypatch.context() as patch:
        patch.setattr(release_people, "_age", lambda made, now: 91.0)
        assert go(net, photos, *people, "+policy.checks.people.required=true") == 3
    assert (
        "has expired: it was made 91 days ago, the policy takes 90; the policy requires one" in capsys.readouterr().out
    )

    assert go(net, photos, *people) == 0
    said = capsys.readouterr().out
    assert "pass  people: study " in said
    assert "the candidate is preferred in " in said
    assert net.aliases["champion"] == 2
    page = Path(f"runs/promotion/{net.name}/version-2.html").read_text(encoding="utf-8")
    assert "the candidate is preferred in " in page
    assert f"study {json.loads((asked / 'study.json').read_text())['id']}, answers " in page
    assert main(["history", f"name={net.name}"]) == 0
    assert "the candidate is preferred in " in capsys.readouterr().out


class Grey(Reader):
    """Reads the digits 2, 5 and 8 of how bright four fields are, and doubts what lies between."""

    def lacks(self) -> None:
        return None

    def read(self, pixels: Pixels) -> Reading:
        found = []
        side = pixels.shape[0] // 2
        for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
            field = pixels[y * side : (y + 1) * side, x * side : (x + 1) * side][side // 4 : -side // 4]
            value = 10 * field[:, side // 4 : -side // 4].mean() / 255
            digit = min((2, 5, 8), key=lambda digit: abs(digit - value))
            sure = abs(digit - value) < 0.9
            box = (x * side, y * side, (x + 1) * side, (y + 1) * side)
            found.append(Found(text=str(digit) if sure else "?", box=box, confidence=0.95 if sure else 0.3))
        return tuple(found)


def test_documents_are_judged_by_what_is_read_and_invented_digits_stop_a_candidate(
    net: Registry, tmp_path: Path, capsys: Capture
) -> None:
    truth = {}
    for number in range(20):
        fields = np.array([[1.5, 4.5], [6.5, 1.5 if number % 2 else 4.5]])  # 6.5: a smudged 5, on which nobody is sure
        pixels = (25.5 * np.kron(fields, np.ones((16, 16))) + number / 4).round().astype(np.uint8)
        write_image(tmp_path / "pages" / "HR" / f"{number:02}.png", np.repeat(pixels[..., None], 3, axis=2))
        words = [{"text": text, "box": [0, 0, 1, 1]} for text in ("2", "5", "5", "2" if number % 2 else "5")]
        truth[f"{number:02}"] = {"found": {"ocr": words}}
    (tmp_path / "pages" / "truth.json").write_text(json.dumps({"images": truth}))
    brighter, careful = sharpener(0.0), sharpener(0.3)
    torch.nn.init.constant_([each for each in brighter.modules() if isinstance(each, torch.nn.Conv2d)][-1].bias, 0.1)

    def judged(network: Network) -> Release:
        net.keep(network, {"model": {"network": NODE}}, images={"train": [], "val": []})
        who = contenders(uri=net.uri, name=net.name)
        words = ["policy=document", f"policy.holdout.documents.benchmark={tmp_path / 'pages'}"]
        words += ["~policy.checks.psnr", "policy.checks.latency.limit=1000", "policy.first_champion=passes_floors"]
        asked = compose("promote", [*words, f"name={net.name}", "metrics=[psnr]", "scale=2"])
        return release(
            who, {name: fetch_artefact(place, tracking_uri=net.uri) for name, place in who.labels.items()},
            policy=build(asked.policy), protocol=build(asked.protocol), report=tmp_path / "pages_of_decisions",
            metrics={name: build(node) for name, node in asked.metrics.items()}, tasks={"ocr": Ocr(reader=Grey())},
            num_runs=2, num_pictures=2, progress=False,
        )  # fmt: skip

    assert judged(sharpener(0.0)).decision.outcome == "promote"
    inventive = judged(brighter)
    assert [reason.check for reason in inventive.decision.failed] == ["ocr_invented", "ocr_invented_digits"]
    verdicts = {reason.check: reason for reason in inventive.decision.reasons}
    assert verdicts["ocr_cer"].estimate == 0, "it reads as many characters as the champion, with less doubt"
    assert verdicts["ocr_invented_digits"].estimate == -1
    assert net.aliases["champion"] == 1
    kept = decisions.fetch(net.uri, net.name, 2, decision=inventive.decision.sha256)
    assert kept is not None
    assert {row["metrics"]["ocr_invented_digits"] for row in kept["models"][0]["rows"]} == {1.0}
    assert judged(careful).decision.outcome == "promote"
    assert net.aliases["champion"] == 3
    capsys.readouterr()
    assert main(["history", f"name={net.name}"]) == 0
    assert "fail  ocr_invented_digits: ocr_invented_digits on with_ocr_invented_digits" in capsys.readouterr().out


def answered(folder: Path, *, prefers: str) -> None:
    """Six raters who mostly prefer one restorer, and pass every check."""
    plan = Plan.read(folder)
    images = sorted({picture.image for picture in plan.pictures.values()})
    for rater, code in enumerate(plan.codes):
        ballots = []
        for trial in plan.order(code):
            left, right = trial.sides(plan.seed, code)
            one, other = plan.pictures[left].shows, plan.pictures[right].shows
            dissents = (images.index(plan.pictures[left].image) + rater) % 5 == 0  # in a repeat as before
            if one == other:
                said = "tie"
            elif "original" in (one, other):
                said = "left" if one == "original" else "right"
            else:
                said = "left" if (one == prefers) != dissents else "right"
            given = Ballot(rater=code, trial=trial.id, left=left, right=right, answer=said, seconds=2.0)
            ballots.append(asdict(given))
        content = {"study": plan.id, "seal": plan.seal, "ballots": ballots}
        (folder / "answers" / f"{code}.json").write_text(json.dumps(content), encoding="utf-8")
