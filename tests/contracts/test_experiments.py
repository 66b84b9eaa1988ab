"""Every file of conf/ composes, and every experiment survives one step on the CPU through the public command."""

from pathlib import Path

import pytest
import yaml

from sr_lab.cli import commands
from sr_lab.config.compose import compose
from sr_lab.config.targets import locate
from sr_lab.config.tree import config_dir

EXPERIMENTS = sorted(file.stem for file in (config_dir() / "experiment").glob("*.yaml"))
BELOW = config_dir() / "deploy"
FILES = sorted(file for file in config_dir().rglob("*.yaml") if BELOW not in file.parents or file.parent == BELOW)
"""Without the manifests below conf/deploy, which are other programs': tests/deploy has them."""


def targets(node):
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for child in node.values():
            yield from targets(child)
    elif isinstance(node, list):
        for child in node:
            yield from targets(child)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(config_dir())))
def test_every_target_exists(file: Path):
    for target in targets(yaml.safe_load(file.read_text(encoding="utf-8"))):
        assert callable(locate(target))


def test_every_command_has_a_configuration_of_commented_keys():
    for name in commands():
        text = (config_dir() / f"{name}.yaml").read_text(encoding="utf-8")
        for line in text.splitlines():
            if line and not line.startswith((" ", "#", "-", "defaults")):
                position = text.splitlines().index(line)
                above = text.splitlines()[position - 1] if position else ""
                assert "#" in line or above.startswith("#"), f"conf/{name}.yaml: {line!r} is not explained"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiment_composes_and_is_named_after_its_file(experiment: str):
    config = compose("train", [f"experiment={experiment}"])
    assert config.name == experiment
    assert f"x{config.scale}" in experiment
    assert config.max_steps % config.val_every == 0
