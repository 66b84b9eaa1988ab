"""The console command: quick answers, and errors that name the nearest valid word."""

import os
import subprocess
import sys

import pytest

from sr_lab.cli import commands, main


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    return done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["trian"], ["train", "--frobnicate"]])
def test_quick_answers_import_nothing_heavy(arguments):
    code = (
        "import sys; from sr_lab.cli import main; main(%r); "
        "print('HEAVY', sorted({m.split('.')[0] for m in sys.modules} & "
        "{'torch', 'mlflow', 'pytorch_lightning', 'hydra', 'omegaconf', 'numpy'}))"
    )
    assert "HEAVY []" in run_python(code % arguments)


def test_importing_the_package_imports_nothing_heavy():
    assert run_python("import sys, sr_lab; print({'torch', 'mlflow', 'hydra'} & sys.modules.keys())") == "set()\n"


def test_every_command_has_help_and_a_configuration(capsys):
    assert commands()
    for name in commands():
        assert main([name, "--help"]) == 0
        text = capsys.readouterr().out
        assert f"srlab {name}" in text, f"the docstring of {name} shows no example"
        assert f"conf/{name}.yaml" in text


def test_overview_lists_every_command(capsys):
    assert main(["--help"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert listed == list(commands())


def test_no_command_is_a_usage_error():
    assert main([]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "Did you mean 'train' or 'retrain'?"),
        (["train", "--frobnicate"], "unknown option --frobnicate"),
    ],
)
def test_wrong_words(arguments, said, capsys):
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_an_error_of_the_system_names_the_place_and_what_to_do(monkeypatch, capsys, tmp_path):
    def fails(name: str, overrides: list[str]) -> list[object]:
        (tmp_path / "file").write_text("x")
        (tmp_path / "file" / "below").write_text("y")
        return []

    monkeypatch.setattr("sr_lab.config.multirun.jobs", fails)
    assert main(["train", "-m"]) == 1
    place = tmp_path / "file" / "below"
    assert f"error: {place}: Not a directory: a part of this path is a file" in capsys.readouterr().err
