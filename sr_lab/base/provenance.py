"""What a run ran on: code version, packages, machine. Environment variables are left out: they hold secrets."""

import getpass
import importlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from sr_lab.base.compute import num_cores
from sr_lab.base.version import __version__

MAX_DIFF_BYTES = 5_000_000
MAX_SOURCE_BYTES, MAX_SOURCES_BYTES = 200_000, 2_000_000


@dataclass(frozen=True, kw_only=True)
class GitState:
    """State of the code. ``commit`` None: not known, for the ``reason`` given.

    ``diff`` is the difference of the tracked files to the commit, with the names of untracked files above it (their
    content may be private).
    """

    commit: str | None = None
    branch: str | None = None
    dirty: bool = False
    diff: str = ""
    reason: str | None = None

    def tags(self) -> dict[str, str]:
        """As tags of a run, with the one that MLflow's page shows."""
        if self.commit is None:
            return {"git.commit": f"unknown: {self.reason}"}
        tags = {
            "git.commit": self.commit,
            "git.dirty": str(self.dirty).lower(),
            "mlflow.source.git.commit": self.commit,
        }
        return tags | ({"git.branch": self.branch} if self.branch else {})


def git_state(root: Path | None = None) -> GitState:
    """State of the git repository that holds ``root``, if not given the code of ``sr_lab``; never raises."""
    root = root or Path(__file__).parent
    try:
        commit = _git(root, "rev-parse", "HEAD").strip()
        status = _git(root, "status", "--porcelain", "--untracked-files=normal")
        difference = _git(root, "diff", "HEAD", "--no-color", "--no-ext-diff") if status else ""
        branch = _git(root, "rev-parse", "--abbrev-ref", "HEAD").strip()
    except FileNotFoundError:
        return GitState(reason="git is not installed" if root.is_dir() else f"{root} does not exist")
    except subprocess.TimeoutExpired:
        return GitState(reason="git did not answer")
    except (subprocess.CalledProcessError, OSError) as error:
        text = (getattr(error, "stderr", None) or str(error)).strip()
        return GitState(reason=text.splitlines()[0].removeprefix("fatal: ") if text else "git failed")
    untracked = [line[3:] for line in status.splitlines() if line.startswith("??")]
    if untracked:
        difference = "".join(f"# untracked: {name}\n" for name in untracked) + difference
    if len(difference) > MAX_DIFF_BYTES:
        difference = difference[:MAX_DIFF_BYTES] + f"\n# cut: the whole has {len(difference)} characters\n"
    return GitState(commit=commit, branch=branch, dirty=bool(status), diff=difference)


@dataclass(frozen=True, kw_only=True)
class OwnSources:
    """Imported source that no commit and no installed package holds.

    ``kept`` are texts by path, ``left_out`` a sentence for each file that was too much.
    """

    kept: dict[str, str]
    left_out: list[str]


def own_sources(root: Path | None = None) -> OwnSources:
    """The Python files that this process has imported and that git does not track in the repository of ``root``.

    Files of installed packages and of Python itself are left out; nothing but imported ``.py`` files is read. Without
    a repository sr_lab's own files are left out. Never raises.
    """
    root = root or Path(__file__).parent
    try:
        top = Path(_git(root, "rev-parse", "--show-toplevel").strip()).resolve()
        tracked = {top / name for name in _git(top, "ls-files", "-z").split("\0") if name}
    except (OSError, subprocess.SubprocessError):
        top, tracked = None, set()
    paths = sysconfig.get_paths()
    installed = {Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    kept: dict[str, str] = {}
    left_out, total = [], 0
    for place, name in sorted((place, name) for name, place in _imported().items()):
        file = Path(place).resolve()
        ours = top is None and name.partition(".")[0] == "sr_lab"
        if file in tracked or ours or not installed.isdisjoint(file.parents):
            continue
        inside = top is not None and file.is_relative_to(top)
        shown = str(file.relative_to(top)) if inside and top else _path_of(name, file)
        try:
            size = file.stat().st_size
            if size > MAX_SOURCE_BYTES or total + size > MAX_SOURCES_BYTES:
                left_out.append(f"{shown}: {size} bytes; at most {MAX_SOURCE_BYTES} a file, {MAX_SOURCES_BYTES} in all")
                continue
            kept[shown] = file.read_text(encoding="utf-8")
            total += size
        except (OSError, ValueError) as error:
            left_out.append(f"{shown}: {error}")
    return OwnSources(kept=kept, left_out=left_out)


def packages() -> dict[str, str]:
    """Version of each installed distribution, sorted by name."""
    found = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name and name not in found:
            found[name] = distribution.version
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def library_versions(*modules: str) -> dict[str, str]:
    """Version of sr_lab, and of each module by what it says itself; ``cv2`` is called opencv."""
    found = {"sr_lab": __version__}
    return found | {
        {"cv2": "opencv"}.get(name, name): str(importlib.import_module(name).__version__) for name in modules
    }


def hardware() -> dict[str, Any]:
    """Machine and interpreter. GPUs are listed where torch is already loaded: loading it costs seconds."""
    import psutil

    gpus: list[dict[str, Any]] = []
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            gpus.append({"name": properties.name, "memory_gigabytes": round(properties.total_memory / 2**30, 1)})
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "cpu": cpu_name(),
        "cpu_cores": os.cpu_count(),
        "cpu_cores_usable": num_cores(),
        "memory_gigabytes": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": ", ".join(gpu["name"] for gpu in gpus) or "none",
        "gpus": gpus,
        "cuda": getattr(getattr(torch, "version", None), "cuda", None),
    }


def user() -> str:
    """Login name, ``unknown`` where the account has none (some containers)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments],
        check=True,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=20,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
    )
    return done.stdout


def _imported() -> dict[str, str]:
    """Python file of each imported module that lies in no folder of installed packages."""
    found = {
        name: vars(module).get("__file__")
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType)
    }
    return {
        name: file
        for name, file in found.items()
        if isinstance(file, str)
        and file.endswith(".py")
        and not {"site-packages", "dist-packages"} & set(Path(file).parts)
    }


def _path_of(name: str, file: Path) -> str:
    """Where a module's file stands among its packages."""
    if name == "__main__":
        return file.name
    parts = name.split(".")
    return "/".join([*parts, file.name] if file.name == "__init__.py" else [*parts[:-1], file.name])


def cpu_name() -> str:
    """Name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
