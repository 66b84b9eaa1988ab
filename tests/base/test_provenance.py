import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import sr_lab
from sr_lab.base import provenance
from sr_lab.base.provenance import GitState, git_state, hardware, own_sources, packages
from sr_lab.tracking.system import SystemSampler


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            check=True,
            capture_output=True,
        )

    git("init", "-q", "-b", "trunk")
    (tmp_path / "a.txt").write_text("one\n")
    git("add", "a.txt")
    git("commit", "-qm", "first")
    return tmp_path


def test_a_clean_repository(repository: Path) -> None:
    state = git_state(repository)
    head = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    )
    assert state == GitState(commit=head.stdout.strip(), branch="trunk")
    assert state.tags()["mlflow.source.git.commit"] == head.stdout.strip()
    assert state.tags()["git.dirty"] == "false"


def test_changes_are_in_the_diff_and_untracked_files_by_name_only(repository: Path) -> None:
    (repository / "a.txt").write_text("two\n")
    (repository / "private.env").write_text("PASSWORD=geheim\n")
    state = git_state(repository)
    assert state.dirty
    assert "-one\n+two\n" in state.diff
    assert "# untracked: private.env" in state.diff
    assert "geheim" not in state.diff
    subprocess.run(["git", "-C", str(repository), "checkout", "-q", "a.txt"], check=True)
    (repository / "a.txt").write_text("one\n")
    assert git_state(repository).dirty


def test_the_recorded_diff_restores_the_change(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (repository / "a.txt").write_text("two\n")
    patch = tmp_path_factory.mktemp("patch") / "dirty.diff"
    patch.write_text(git_state(repository).diff)
    subprocess.run(["git", "-C", str(repository), "checkout", "-q", "a.txt"], check=True)
    subprocess.run(["git", "-C", str(repository), "apply", str(patch)], check=True)
    assert (repository / "a.txt").read_text() == "two\n"


def test_imported_source_that_git_does_not_track_is_kept(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    files = {
        "kept": repository / "kept.py",
        "large": repository / "large.py",
        "tracked": repository / "tracked.py",
        "flavour.net": elsewhere / "net.py",
    }
    for name, file in files.items():
        file.write_text(f"NAME = {name!r}\n" + "#" * (300 if name == "large" else 0))
        module = ModuleType(name)
        module.__file__ = str(file)
        monkeypatch.setitem(sys.modules, name, module)
    (repository / "secret.py").write_text("PASSWORD = 'geheim'\n")
    subprocess.run(["git", "-C", str(repository), "add", "tracked.py"], check=True)
    monkeypatch.setattr(provenance, "MAX_SOURCE_BYTES", 200)
    found = own_sources(repository)
    assert found.kept["kept.py"] == "NAME = 'kept'\n"
    assert found.kept["flavour/net.py"] == "NAME = 'flavour.net'\n"
    assert not {"tracked.py", "secret.py", "large.py"} & set(found.kept)
    assert any(line.startswith("large.py: 315 bytes") for line in found.left_out)
    assert not any("site-packages" in name or name.startswith("json/") for name in found.kept)


def test_no_repository_no_git_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not a git repository" in str(git_state(tmp_path).reason)
    assert git_state(tmp_path / "missing").commit is None
    monkeypatch.setenv("PATH", str(tmp_path))
    state = git_state(tmp_path)
    assert state.reason == "git is not installed"
    assert state.tags() == {"git.commit": "unknown: git is not installed"}


def test_the_code_is_meant_and_not_the_working_directory(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    assert git_state().commit != git_state(repository).commit
    assert git_state().commit == git_state(Path(sr_lab.__file__).parent).commit


def test_packages_and_hardware_are_those_of_this_process() -> None:
    import numpy

    found = packages()
    assert found["numpy"] == numpy.__version__
    assert list(found) == sorted(found, key=str.lower)
    assert hardware()["memory_gigabytes"] > 0


class FakeNvml:
    """Two GPUs, the second of which does not answer."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.nvmlInit = lambda: None
        self.nvmlDeviceGetCount = lambda: 2
        self.nvmlDeviceGetHandleByIndex = lambda index: index
        self.nvmlDeviceGetUtilizationRates = lambda handle: type("Rates", (), {"gpu": 73})
        self.nvmlDeviceGetPowerUsage = lambda handle: 350_000
        self.nvmlDeviceGetEnforcedPowerLimit = lambda handle: 700_000

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> object:
        if handle == 1:
            raise self.NVMLError
        return type("Memory", (), {"used": 50_000_000, "total": 200_000_000})


def test_the_load_has_mlflows_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", FakeNvml())
    load = SystemSampler().sample()
    assert {"cpu_utilization_percentage", "system_memory_usage_megabytes", "disk_usage_percentage"} <= load.keys()
    assert load["gpu_0_memory_usage_percentage"] == 25.0
    assert load["gpu_0_memory_usage_megabytes"] == 50.0
    assert load["gpu_0_utilization_percentage"] == 73.0
    assert load["gpu_0_power_usage_watts"] == 350.0
    assert load["gpu_0_power_usage_percentage"] == 50.0
    assert not any(key.startswith("gpu_1") for key in load)
