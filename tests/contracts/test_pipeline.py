"""dvc.yaml and the workflows call only commands that exist, on files that exist."""

import shlex
from pathlib import Path

import pytest
import yaml

from sr_lab.commands._config import compose

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
VARIABLES = {f"${{{name}}}": str(value) for entry in PIPELINE["vars"] for name, value in entry.items()}
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def resolved(text: str) -> str:
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    return text


@pytest.mark.parametrize("stage", PIPELINE["stages"])
def test_stage_calls_a_command_with_settings_that_compose(stage):
    words = shlex.split(resolved(PIPELINE["stages"][stage]["cmd"]).split(">")[0])
    assert words[0] == "srlab"
    compose(words[1], words[2:])


@pytest.mark.parametrize("stage", PIPELINE["stages"])
def test_dependencies_exist_or_are_made_by_a_stage_before(stage):
    made = {resolved(name) for entry in PIPELINE["stages"].values() for name in _names(entry)}
    for dependency in map(resolved, PIPELINE["stages"][stage]["deps"]):
        assert dependency in made or (ROOT / dependency).exists(), f"{stage} depends on {dependency}"


def _names(stage: dict) -> list[str]:
    entries = [*stage.get("outs", []), *stage.get("metrics", [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_workflow_runs_targets_of_the_makefile(file):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    lines = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert lines
    for line in lines:
        tool, target = line.split()[:2]
        assert tool == "make"
        assert f"\n{target}:" in makefile
