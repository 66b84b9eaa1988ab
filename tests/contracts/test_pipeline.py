"""dvc.yaml and the workflows call only commands that exist, on files that exist."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir

from sr_lab.config.compose import compose

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
    entries = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
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


def files_of_conf(command: str, overrides: list[str]) -> set[str]:
    """The files below conf/ that a command is composed of."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = hydra_compose(command, overrides, return_hydra_config=True)
    files = {f"conf/{command}.yaml"}
    for group, chosen in composed.hydra.runtime.choices.items():
        names = list(chosen) if isinstance(chosen, list) or hasattr(chosen, "_metadata") else [chosen]
        files |= {f"conf/{group}/{name}.yaml" for name in names if name and not group.startswith("hydra/")}
    return files


@pytest.mark.parametrize("stage", PIPELINE["stages"])
def test_every_file_of_conf_that_a_stage_reads_is_a_dependency(stage):
    words = shlex.split(resolved(PIPELINE["stages"][stage]["cmd"]).split(">")[0])
    deps = [resolved(name) for name in PIPELINE["stages"][stage]["deps"]]
    for file in files_of_conf(words[1], words[2:]):
        assert any(file == dep or file.startswith(f"{dep}/") for dep in deps), f"{stage} reads {file}"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy without git in which everything is up to date: the outputs are stand-ins that DVC has taken note of."""
    folder = tmp_path_factory.mktemp("pipeline")
    for name in ("conf", "data", "sr_lab"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "photos", "prepared"))
    shutil.copy(ROOT / "dvc.yaml", folder)
    shutil.copytree(ROOT / "data" / "manifests", folder / "data" / "manifests", dirs_exist_ok=True)
    for entry in PIPELINE["stages"].values():
        for name in map(resolved, _names(entry)):
            path = folder / name
            if path.suffix:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("{}" if path.suffix == ".json" else "stand-in")
            else:
                path.mkdir(parents=True)
                (path / "file").write_text("stand-in")
    dvc(folder, "init", "--no-scm", "--quiet")
    dvc(folder, "commit", "--force", "--quiet", *PIPELINE["stages"])
    return folder


def dvc(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder / ".site")}
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def would_run(folder: Path) -> set[str]:
    return set(re.findall(r"Running stage '(\w+)'", dvc(folder, "repro", "--dry")))


@pytest.mark.slow
def test_an_edit_in_conf_reruns_what_depends_on_it_and_only_that_without_git(pipeline):
    assert would_run(pipeline) == set(), "nothing was edited"
    for file, stale in {
        "conf/sweep.yaml": set(),
        "conf/policy/default.yaml": {"promote"},
        "conf/embedding/content.yaml": {"profile", "drift"},
        "conf/optimizer/adam.yaml": {"train"},  # what follows it depends on what it makes
    }.items():
        path = pipeline / file
        before = path.read_text()
        path.write_text(before + "# an edit\n")
        assert would_run(pipeline) == stale, file
        path.write_text(before)
    assert would_run(pipeline) == set(), "the edits were taken back"


def test_imports_of_data_name_public_urls_and_are_frozen():
    files = sorted((ROOT / "data").glob("*.dvc"))
    assert {file.stem for file in files} == {"DIV2K_train_HR.zip", "DIV2K_valid_HR.zip", "Flickr2K.tar"}
    for file in files:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert content["frozen"] is True, "dvc repro does not fetch it"
        assert content["deps"][0]["path"].startswith("https://")
        assert content["deps"][0]["path"].endswith(content["outs"][0]["path"])
        assert f"/{file.stem}\n" in (ROOT / "data" / ".gitignore").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_workflow_is_one_that_github_takes(file):
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    triggers = workflow[True]  # YAML 1.1 reads the key "on" as a boolean
    assert set(triggers) <= {"push", "pull_request", "schedule", "workflow_dispatch"}
    for entry in (triggers.get("schedule") or []) if isinstance(triggers, dict) else []:
        assert re.fullmatch(r"(\S+ ){4}\S+", entry["cron"])
    assert workflow["concurrency"]["group"]
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 360
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            assert "@v" in step.get("uses", "@v")
        whole = file.read_text(encoding="utf-8")
        assert len(re.findall(r"\$\{\{", whole)) == len(re.findall(r"\$\{\{ [\w.]+ \}\}", whole))


@pytest.mark.parametrize("name", ["drift", "promote"])
def test_workflow_gives_settings_that_compose(name):
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8"))
    needed = "name=n experiment=edsr_tiny_x2_photos reference=r current=c holdout=h tracking_uri=sqlite:///x.db"
    (job,) = workflow["jobs"].values()
    checked = 0
    for step in job["steps"]:
        arguments = {**job["env"], **step.get("env", {})}.get("ARGS")
        if "run" in step and arguments:
            text = arguments.replace("${{ vars.SRLAB_RETRAIN }}", needed)
            text = text.replace("${{ inputs.version }}", "3")
            words = shlex.split(re.sub(r"\$\{\{ [\w.]+ \}\}", "state", text))
            cfg = compose(step["run"].split()[1], words)
            checked += 1
            if "policy" in cfg:
                assert cfg.policy.approval is True
                assert cfg.retraining.cooldown_hours > 0
                compose("train", [f"experiment={cfg.experiment}", *cfg.train])
                compose("drift", ["reference=r", "current=c", "report=o", *cfg.drift])
    assert checked
