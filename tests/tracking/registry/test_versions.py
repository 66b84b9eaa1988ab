import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sr_lab.artefacts.artefact import load_artefact, save_artefact
from sr_lab.cli import main
from sr_lab.networks.srcnn import SRCNN
from sr_lab.tracking.models import save_model
from sr_lab.tracking.registry.seal import SEAL
from sr_lab.tracking.registry.versions import download, locate, register
from sr_lab.tracking.run import Run
from sr_lab.tracking.shipping import Shipper

MakeRun = Callable[..., Run]


@pytest.fixture(scope="module")
def network() -> SRCNN:
    torch.manual_seed(0)
    return SRCNN(scale=2, num_channels=3).eval()


@pytest.fixture(scope="module")
def artefact(network: SRCNN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    node = {"_target_": "sr_lab.networks.srcnn.SRCNN", "scale": 2, "num_channels": 3}
    config = {"model": {"network": node}}
    return save_artefact(tmp_path_factory.mktemp("best") / "best", network, config=config, metadata={"data": "d"})


@pytest.fixture(scope="module")
def model(network: SRCNN, artefact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "model", network, artefact=artefact)


@pytest.mark.parametrize("shape", [(1, 3, 17, 23), (3, 3, 8, 64), (2, 3, 24, 26), (5, 3, 33, 9)])
def test_the_model_loads_without_pickle_for_any_size(
    model: Path, network: SRCNN, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.pytorch

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    loaded = mlflow.pytorch.load_model(str(model))
    low = torch.rand(*shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(loaded(low), network(low), rtol=0, atol=1e-5)


def test_the_model_is_an_artefact_too(model: Path, network: SRCNN) -> None:
    loaded = load_artefact(model)
    low = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        assert torch.equal(loaded.network(low), network(low))
    assert loaded.metadata["data"] == "d"


class _Frozen(nn.Module):
    """Depends on the size of its input."""

    num_channels = 3

    def forward(self, low: Tensor) -> Tensor:
        if low.shape[-1] > 26:
            return low * 0
        return nn.functional.interpolate(low, size=(48, 52))


def test_a_network_that_does_not_export_for_any_size_is_refused(artefact: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="_Frozen"):
        save_model(tmp_path / "model", _Frozen(), artefact=artefact)
    assert list(tmp_path.iterdir()) == []


def test_saving_needs_an_artefact_and_leaves_the_network_alone(model: Path, network: SRCNN, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it has no metadata"):
        save_model(tmp_path / "model", network, artefact=tmp_path)
    assert all(parameter.requires_grad for parameter in network.parameters())


def command(**options: Any) -> int:
    tags = ",".join(f"{key}:{value}" for key, value in options.pop("tags", {}).items())
    settings = [f"{key}={value}" for key, value in options.items()]
    return main(["register", *settings, *([f"+tags={{{tags}}}"] if tags else [])])


@pytest.fixture
def finished(make_run: MakeRun, model: Path, tmp_path: Path) -> Callable[..., Run]:
    """Runs on the server, each in a folder of its own, with the model and what else is asked for."""
    number = itertools.count()

    def make(*, metrics: dict[str, float] | None = None, tags: dict[str, str] | None = None, **options: Any) -> Run:
        directory = tmp_path / ("run" if (count := next(number)) == 0 else f"run{count}") / "tracking"
        run = make_run(tags=tags or {}, directory=directory, **options)
        run.log_metrics(metrics or {"train/loss": 0.1}, 10)
        run.log_model(model)
        run.finish()
        Shipper(run.spool).ship()
        return run

    return make


def test_from_the_run_to_the_alias_and_back(
    make_run: MakeRun, client: Any, store: str, model: Path, network: SRCNN, tmp_path: Path, capsys: Any
) -> None:
    run = make_run(tags={"protocol": "y_crop", "git.commit": "abc"})
    run.log_dataset("photos", "d" * 64, "data/photos", "training")
    run.log_metrics({"test/psnr_y": 31.5, "train/loss": 0.1}, 10)
    run.log_model(model)
    directory = run.spool.directory.parent
    run.finish()
    with pytest.raises(ValueError, match="events not on the server yet: run  srlab sync"):
        locate(str(directory), uri=None, default_uri="sqlite:///x.db")
    Shipper(run.spool).ship()
    for _ in range(2):
        assert command(run=str(directory), name="tiny", tags={"by": "test"}) == 0
    assert "tiny version 1 is models:/tiny@candidate" in capsys.readouterr().out
    assert len(client.search_model_versions("name = 'tiny'")) == 1
    version = client.get_model_version_by_alias("tiny", "candidate")
    assert version.run_id == run.run_id
    seal = json.loads(version.tags.pop(SEAL))
    assert {"weights.safetensors", "config.yaml", "metadata.json", "MLmodel", "data/model.pt2"} <= set(seal)
    assert version.tags == {
        "run": run.run_id,
        "protocol": "y_crop",
        "git.commit": "abc",
        "data.training": "d" * 64,
        "test/psnr_y": "31.5",
        "by": "test",
    }
    low = torch.rand(1, 3, 9, 11)
    for uri in ("models:/tiny@candidate", "models:/tiny/1", f"runs:/{run.run_id}/model"):
        folder = download(uri, tracking_uri=store, directory=tmp_path / uri.replace("/", "_"))
        with torch.no_grad():
            assert torch.equal(load_artefact(folder).network(low), network(low))
    stored = client.get_run(run.run_id)
    assert len(stored.outputs.model_outputs) == 1
    again = register(store, str(run.run_id), "tiny", "staging")
    assert (again.number, again.uri) == (1, "models:/tiny@staging")
    assert client.get_registered_model("tiny").description.startswith("Super-resolution models that enlarge")


def test_a_model_that_is_sent_twice_is_one_model(make_run: MakeRun, client: Any, model: Path) -> None:
    from sr_lab.tracking.spool import State

    run = make_run()
    run.log_model(model, name="model", step=7)
    (copy,) = (run.spool.directory / "files").iterdir()
    kept = copy.with_name("kept")
    shutil.copytree(copy, kept)
    Shipper(run.spool).ship()
    kept.rename(copy)
    run.spool.acknowledge(State())
    shipper = Shipper(run.spool)
    shipper.ship()
    stored = client.get_run(shipper.state.run_id)
    assert [output.step for output in stored.outputs.model_outputs] == [7]
    (found,) = client.search_logged_models([stored.info.experiment_id], f"source_run_id = '{stored.info.run_id}'")
    assert found.status.name == "READY"


def test_what_does_not_exist_is_named(make_run: MakeRun, store: str, tmp_path: Path) -> None:
    run = make_run()
    Shipper(run.spool).ship()
    run_id = str(run.run_id)
    with pytest.raises(ValueError, match=rf"run {run_id} \(.+\) is RUNNING"):
        register(store, run_id, "tiny")
    run.finish()
    Shipper(run.spool).ship()
    with pytest.raises(ValueError, match="has no model named 'model'"):
        register(store, run_id, "tiny")
    with pytest.raises(ValueError, match="not found"):
        register(store, "0" * 32, "tiny")
    with pytest.raises(ValueError, match="there is no tracking store at"):
        register(f"sqlite:///{tmp_path}/nowhere.db", run_id, "tiny")
    with pytest.raises(ValueError, match="no such folder"):
        locate("runs/nowhere", uri=None, default_uri=store)
    with pytest.raises(ValueError, match="was not tracked"):
        locate(str(tmp_path), uri=None, default_uri=store)
    for uri, message in [
        ("models:/nobody@candidate", "not found"),
        ("models:/nobody", "names no version"),
        (f"runs:/{'0' * 32}/model", "not found"),
        (f"runs:/{run_id}/nothing", "cannot find"),
        ("weights.pth", "is not an artefact uri"),
    ]:
        with pytest.raises(ValueError, match=message):
            download(uri, tracking_uri=store, directory=tmp_path / "download")


def test_an_absent_server_is_an_error() -> None:
    with pytest.raises((RuntimeError, ValueError), match=r"127\.0\.0\.1:9"):
        register("http://127.0.0.1:9", "0" * 32, "tiny")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alias": "champion"}, "moved by srlab promote"),
        ({"alias": "Previous"}, "moved by srlab promote"),
        ({"alias": "latest"}, "means something else in the registry"),
        ({"alias": "v5"}, "means something else in the registry"),
        ({"alias": "unused"}, "means something else in the registry"),
        ({"alias": ""}, "alias=: it is empty, give it a value"),
        ({"alias": "'a b'"}, "give one word of letters"),
        ({"name": '"it\'s"'}, 'cannot hold "\'"'),
        ({"name": "a/b"}, "cannot hold '/'"),
        ({"name": "a@b"}, "cannot hold '@'"),
        ({"name": "''"}, "name=: it is empty, give it a value"),
        ({"tags": {"run": "x"}}, "written from the run itself"),
        ({"tags": {"test/psnr_y": "x"}}, "written from the run itself"),
        ({"tags": {"long": "x" * 6000}}, "at most 4500"),
    ],
)
def test_a_name_that_is_refused_leaves_no_version(
    finished: Callable[..., Run], client: Any, change: dict[str, Any], words: str, capsys: Any, store: str
) -> None:
    before = len(client.search_model_versions())
    assert command(**{"run": "0" * 32, "name": "refused", "default_uri": store} | change) == (
        2 if "empty" in words else 1
    )
    assert words in capsys.readouterr().err
    assert len(client.search_model_versions()) == before


def test_each_name_of_one_model_has_a_card_of_its_own(
    finished: Callable[..., Run], client: Any, store: str, tmp_path: Path
) -> None:
    run = finished()
    for name in ("own-a", "own-b"):
        register(store, str(run.run_id), name)
    for name in ("own-a", "own-b"):
        folder = download(f"models:/{name}/1", tracking_uri=store, directory=tmp_path / name)
        card = (folder / "MODEL_CARD.md").read_text()
        assert card.startswith(f"# {name}, version 1\n")
        assert not (folder / "cards").exists()
        assert client.get_model_version(name, "1").description == card


def test_the_model_is_fetched_once(finished: Callable[..., Run], store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.artifacts

    run, fetched = finished(), []
    fetch = mlflow.artifacts.download_artifacts
    monkeypatch.setattr(
        mlflow.artifacts, "download_artifacts", lambda *args, **named: fetched.append(args) or fetch(*args, **named)
    )
    register(store, str(run.run_id), "once")
    assert len(fetched) == 1


def test_numbers_of_other_weights_are_refused_and_old_ones_come_with_a_caution(
    finished: Callable[..., Run], client: Any, store: str, artefact: Path
) -> None:
    own = json.loads((artefact / "metadata.json").read_text())["sha256"]["weights.safetensors"]
    run = finished(metrics={"test/set5_x2/psnr_y": 30.0}, tags={"test.set5_x2.weights": "f" * 64})
    with pytest.raises(ValueError, match=f"on set5_x2 are of the weights ffffffffffff, its model has .* {own[:12]}"):
        register(store, str(run.run_id), "belonging")
    assert not client.search_model_versions("name = 'belonging'")
    run = finished(metrics={"test/set5_x2/psnr_y": 30.0}, tags={"test.set5_x2.weights": own})
    assert register(store, str(run.run_id), "belonging").cautions == ()
    run = finished(metrics={"test/set5_x2/psnr_y": 30.0})
    (caution,) = register(store, str(run.run_id), "belonging").cautions
    assert caution.startswith("The numbers on set5_x2 do not say which weights they are of")
    assert caution in client.get_model_version_by_alias("belonging", "candidate").description


def test_a_folder_whose_best_is_of_another_run_is_refused(
    finished: Callable[..., Run], store: str, artefact: Path, tmp_path: Path, capsys: Any
) -> None:
    run = finished()
    other = SRCNN(scale=2, num_channels=3)
    save_artefact(tmp_path / "run" / "best", other, config=load_artefact(artefact).config, metadata={})
    assert command(run=tmp_path / "run", name="split") == 1
    told = capsys.readouterr().err
    assert "they do not belong together" in told
    assert f"srlab register run={run.run_id}" in told or f"{run.run_id}" in told


def test_a_run_that_cannot_be_registered_is_named_before_there_is_a_version(
    finished: Callable[..., Run], client: Any, store: str
) -> None:
    run = finished()
    client.delete_run(run.run_id)
    with pytest.raises(ValueError, match=rf"run {run.run_id} \(.+\) is in MLflow's trash; .* restore --run-id"):
        register(store, str(run.run_id), "refused")
    run = finished()
    client.set_terminated(run.run_id, "KILLED")
    with pytest.raises(ValueError, match=rf"run {run.run_id} \(.+\) is KILLED"):
        register(store, str(run.run_id), "refused")
    run = finished()
    (output,) = client.get_run(run.run_id).outputs.model_outputs
    place = Path(client.get_logged_model(output.model_id).artifact_location.removeprefix("file://"))
    (place / "weights.safetensors").unlink()
    with pytest.raises(ValueError, match=rf"run {run.run_id} \(.+\): weights.safetensors of its model is gone"):
        register(store, str(run.run_id), "refused")
    shutil.rmtree(place)
    with pytest.raises(ValueError, match=rf"run {run.run_id} \(.+\): the files of its model are gone"):
        register(store, str(run.run_id), "refused")
    assert not client.search_model_versions("name = 'refused'")


def test_the_card_tells_the_run_s_own_degradation(
    finished: Callable[..., Run], make_run: MakeRun, client: Any, store: str, network: SRCNN, tmp_path: Path
) -> None:
    """MLflow keeps one entry for equal files: that of the run that came first, whatever the second made of them."""
    node = {"_target_": "sr_lab.networks.srcnn.SRCNN", "scale": 2, "num_channels": 3}
    for kind in ("blur.Gaussian", "resize.Bicubic"):
        data = {
            "name": "folder",
            "train": {"roots": "photos"},
            "degradation": {"_target_": f"sr_lab.degradations.{kind}"},
        }
        best = save_artefact(
            tmp_path / kind / "best", network, config={"model": {"network": node}, "data": data}, metadata={}
        )
        (best / "MLmodel").write_text("flavors: {}\n")
        run = make_run(directory=tmp_path / kind / "tracking")
        run.log_dataset("photos", "e" * 64, "photos", "training", {"degradation": {"class": kind}})
        run.log_model(best)
        run.finish()
        Shipper(run.spool).ship()
        register(store, str(run.run_id), f"own-{kind.partition('.')[2]}")
    card = client.get_model_version("own-Bicubic", "1").description
    assert '`{"target": "Bicubic"}`' in card
    assert "Gaussian" not in card
