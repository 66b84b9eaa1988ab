"""dvc.yaml and the workflows call only commands that exist, on files that exist."""

import ast
import contextlib
import functools
import re
import shlex
import shutil
from collections.abc import Iterator
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


def source_of(module: str) -> Path | None:
    """The file of a module of sr_lab; None of anything else."""
    path = ROOT / Path(*module.split("."))
    files = [path / "__init__.py", path.with_suffix(".py")]
    return next((file for file in files if module.split(".")[0] == "sr_lab" and file.is_file()), None)


@functools.cache
def imported(module: str) -> frozenset[str]:
    """What a module imports of sr_lab when it runs; the lazy names of the package itself do not count."""
    found: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(source_of(module).read_text(encoding="utf-8"))] if module != "sr_lab" else []
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        nodes += ast.iter_child_nodes(node)
    parents = {".".join(name.split(".")[:depth]) for name in found for depth in range(1, name.count(".") + 1)}
    return frozenset(name for name in found | parents if source_of(name))


def targets(node: object) -> set[str]:
    """Modules of sr_lab that a composed configuration names as ``_target_``."""
    if isinstance(node, list):
        return {name for child in node for name in targets(child)}
    if not isinstance(node, dict):
        return set()
    own = {str(node["_target_"]).rpartition(".")[0]} if "_target_" in node else set()
    return {name for name in own if source_of(name)} | {name for child in node.values() for name in targets(child)}


def code_of(words: list[str]) -> set[str]:
    """The files of sr_lab that a stage's command runs through, by the imports and by its configuration."""
    from omegaconf import OmegaConf

    composed = OmegaConf.to_container(compose(words[1], words[2:]), resolve=False)
    todo, seen = {"sr_lab.cli", f"sr_lab.commands.{words[1]}", *targets(composed)}, set()
    while todo:
        seen |= todo
        todo = {name for module in todo for name in imported(module)} - seen
    return {source_of(module).relative_to(ROOT).as_posix() for module in seen} - {"sr_lab/__init__.py"}


@pytest.mark.parametrize("stage", PIPELINE["stages"])
def test_all_code_that_a_stage_imports_is_a_dependency(stage):
    words = shlex.split(resolved(PIPELINE["stages"][stage]["cmd"]).split(">")[0])
    deps = [resolved(name) for name in PIPELINE["stages"][stage]["deps"]]
    code = code_of(words)
    assert f"sr_lab/commands/{words[1]}.py" in code
    missing = sorted(file for file in code if not any(file == dep or file.startswith(f"{dep}/") for dep in deps))
    assert not missing, f"dvc repro would not see an edit of {missing}"


def test_what_a_training_makes_is_not_restored_without_the_rest_of_its_run():
    """From DVC's run cache came the weights of one run beside the tracking folder of another."""
    train = PIPELINE["stages"]["train"]
    (best,) = [entry for entry in train["outs"] if resolved(next(iter(entry))) == "runs/photos/best"]
    assert next(iter(best.values())) == {"cache": False}
    assert PIPELINE["stages"]["register"]["always_changed"] is True, "a store that is gone is found by asking it"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
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
    from dvc.repo import Repo

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_NO_ANALYTICS", "1")
        patch.setenv("DVC_SITE_CACHE_DIR", str(folder / ".site"))
        with contextlib.chdir(folder), Repo.init(str(folder), no_scm=True) as repo:
            for stage in PIPELINE["stages"]:
                repo.commit(stage, force=True)
        yield folder


def would_run(folder: Path) -> set[str]:
    """The stages of ``dvc repro --dry``."""
    from dvc.repo import Repo

    with contextlib.chdir(folder), Repo(str(folder)) as repo:
        return {stage.name for stage in repo.reproduce(dry=True)}


@pytest.mark.slow
def test_an_edit_in_conf_reruns_what_depends_on_it_and_only_that_without_git(pipeline):
    always = {"register"}  # it asks the store, which no file stands for
    assert would_run(pipeline) == always, "nothing was edited"
    for file, stale in {
        "conf/sweep.yaml": set(),
        "conf/policy/default.yaml": {"promote"},
        "conf/embedding/content.yaml": {"profile", "drift"},
        "sr_lab/base/randomness.py": {"prepare", "train", "evaluate", "promote", "inputs", "profile", "drift"},
        "conf/optimizer/adam.yaml": {"train"},  # what follows it depends on what it makes
    }.items():
        path = pipeline / file
        before = path.read_text()
        path.write_text(before + "# an edit\n")
        assert would_run(pipeline) == stale | always, file
        path.write_text(before)
    assert would_run(pipeline) == always, "the edits were taken back"


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
