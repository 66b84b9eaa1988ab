"""What the registry tells people: commands that find the same store, and where a card says that the code is kept."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sr_lab.artefacts.artefact import load_artefact
from sr_lab.config.compose import compose
from sr_lab.tracking.registry.card import model_card, run_facts
from sr_lab.tracking.run import Run
from sr_lab.tracking.shipping import Shipper
from sr_lab.tracking.store import DEFAULT_URI
from sr_lab.workflows.approve import how_to_go_on
from sr_lab.workflows.release import how_to_agree, how_to_look

NAMES = ["photos", "my model", "it's", "a,b", "1e3"]


def command_of(text: str) -> list[str]:
    """The words of the one command in a text."""
    return shlex.split(text[text.index("srlab ") :].partition("  ")[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("uri", ["sqlite:///other place.db", "http://127.0.0.1:5000", DEFAULT_URI])
@pytest.mark.parametrize("environment", [None, "http://elsewhere:5000"])
def test_a_printed_command_finds_the_store_that_it_was_printed_for(
    name: str, uri: str, environment: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Pasted into the same shell; and, where another store than the usual one is meant, into any other one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if environment is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", environment)
    for told in (how_to_look(uri, name), how_to_agree(uri, name, 3), how_to_go_on(uri, name)):
        program, command, *words = command_of(told)
        assert program == "srlab"
        config = compose(command, words)
        assert (config.name, config.tracking_uri) == (name, uri), told
        named = any(word.startswith("tracking_uri=") for word in words)
        assert named == (uri != DEFAULT_URI or environment is not None), told


def test_a_card_says_where_the_run_keeps_code_that_no_commit_has(
    make_run: Callable[..., Run], client: Any, fsrcnn_model: Path, tmp_path: Path
) -> None:
    artefact = load_artefact(fsrcnn_model.parent / "best")
    told = {}
    for name, kept in {
        "none": [],
        "one": ["code/untracked/my/net.py"],
        "resumed": ["code/untracked.resume.1/net.py"],
    }.items():
        run = make_run(name=name, directory=tmp_path / name / "tracking")
        for path in kept:
            run.log_text("x = 1\n", path)
        run.finish()
        shipper = Shipper(run.spool)
        shipper.ship()
        facts = run_facts(client, client.get_run(shipper.state.run_id))
        told[name] = model_card(facts, title="m/1", artefact=artefact)
        dirty = replace(artefact, metadata={**artefact.metadata, "dirty": True})
        told[f"{name} dirty"] = model_card(facts, title="m/1", artefact=dirty)
    assert "with changes that the run keeps" not in told["none"]
    assert "with changes that the run keeps as code/dirty.diff." in told["none dirty"]
    assert "with changes that the run keeps as code/untracked/." in told["one"]
    assert "with changes that the run keeps as code/dirty.diff and code/untracked/." in told["one dirty"]
    assert "with changes that the run keeps as code/untracked.resume.1/." in told["resumed"]
