"""The Makefile is the manual: each target once, each with a line of help, each command one that srlab has."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sr_lab.config.tree import config_dir

MAKEFILE = Path(__file__).resolve().parents[2] / "Makefile"
TEXT = MAKEFILE.read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z-]+):", TEXT, re.MULTILINE)


def test_each_target_is_there_once_and_phony() -> None:
    phony = re.findall(r"^\.PHONY: (.*)", TEXT, re.MULTILINE)[0].split()
    assert sorted(TARGETS) == sorted(phony)


def test_make_has_nothing_to_say_against_it() -> None:
    if shutil.which("make") is None:
        pytest.skip("needs make")
    done = subprocess.run(["make", "-n", "help"], cwd=MAKEFILE.parent, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_each_command_is_one_of_srlab() -> None:
    commands = re.findall(r"\$\(BIN\)/srlab ([a-z_]+)", TEXT)
    assert {"demo", "demo_drift", "demo_loop"} <= set(commands)
    assert [name for name in commands if not (config_dir() / f"{name}.yaml").is_file()] == []
