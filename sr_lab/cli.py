"""``srlab COMMAND key=value ...``: finds the command's module, composes its configuration, runs it.

Only the standard library is imported here, so that help and wrong commands answer at once.
"""

import ast
import contextlib
import errno
import functools
import importlib
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sr_lab.base import signals
from sr_lab.base.errors import ConfigError
from sr_lab.base.extras import remedy
from sr_lab.base.memory import keep_pages
from sr_lab.base.threads import sleep_when_idle
from sr_lab.base.unread import outlive_readers
from sr_lab.base.words import counted, setting
from sr_lab.config.tree import VARIABLE, config_dir, nearest, own_dirs

PACKAGE = Path(__file__).resolve().parent
USAGE_ERROR = 2


def commands() -> dict[str, Path]:
    """Name and module file of every command."""
    files = sorted((PACKAGE / "commands").glob("[!_]*.py"))
    return {file.stem: file for file in files}


def docstring(file: Path) -> str:
    """Docstring of a module, read without importing it."""
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""


def overview() -> str:
    """Text of ``srlab --help``."""
    rows = [f"  {name:<15}{docstring(file).splitlines()[0]}" for name, file in commands().items()]
    return "\n".join(
        [
            "usage: srlab COMMAND [key=value ...] [--cfg] [-m]",
            "",
            "Super-resolution from run to registry. Commands:",
            "",
            *rows,
            "",
            "srlab COMMAND --help   what it does and every key of its configuration",
            "srlab COMMAND --cfg    print the composed configuration and stop",
            "srlab COMMAND -m a=1,2 run once for every combination",
            f"Configuration: {', '.join(map(str, [config_dir(), *own_dirs()]))}",
            f"One of your own beside it, with groups like these: {VARIABLE}=DIR, or --config-dir DIR",
        ]
    )


def command_help(name: str) -> str:
    """Text of ``srlab NAME --help``: the docstring and the commented configuration."""
    config = (config_dir() / f"{name}.yaml").read_text(encoding="utf-8")
    return f"{docstring(commands()[name])}\n\nconf/{name}.yaml, every key can be overridden as key=value:\n\n{config}"


def main(argv: list[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code."""
    if argv is None:  # a process of our own
        outlive_readers()
        keep_pages()
    try:
        arguments = _with_own_trees(list(sys.argv[1:] if argv is None else argv))
    except ConfigError as error:
        print(f"srlab: {error}", file=sys.stderr)
        return USAGE_ERROR
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0 if arguments else USAGE_ERROR
    name, *rest = arguments
    if name not in commands():
        known = ", ".join(commands())
        print(f"srlab: no command {name!r}.{nearest(name, list(commands()))} Commands: {known}", file=sys.stderr)
        return USAGE_ERROR
    if "-h" in rest or "--help" in rest:
        print(command_help(name))
        return 0
    unknown = [flag for flag in rest if flag.startswith("-") and flag not in ("--cfg", "-m", "--multirun")]
    if unknown:
        print(f"srlab {name}: unknown option {unknown[0]}: settings are given as key=value", file=sys.stderr)
        return USAGE_ERROR
    if argv is None and name == "serve":
        sleep_when_idle()
    try:
        with signals.handled():
            return _run(name, rest)
    except (signals.Stopped, KeyboardInterrupt) as stop:
        return _stopped(name, rest, stop)


def _with_own_trees(arguments: list[str]) -> list[str]:
    """Takes ``--config-dir DIR`` out of the arguments; worker processes, wherever they start, find the same trees.

    Raises:
        ConfigError: If there is no such folder.
    """
    rest, words = [], iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name != "--config-dir":
            rest.append(word)
            continue
        folder = value if equals else next(words, "")
        if not folder:
            raise ConfigError("--config-dir: name a folder, as --config-dir DIR")
        os.environ[VARIABLE] = folder
    if os.environ.get(VARIABLE):
        os.environ[VARIABLE] = os.pathsep.join(map(str, own_dirs()))
    return rest


def _stopped(name: str, arguments: list[str], stop: BaseException) -> int:
    """Says what a signal ended and how it goes on; the exit code, 143 after SIGTERM and 130 after Ctrl-C."""
    if not isinstance(stop, signals.Stopped):
        stop = signals.Stopped(signal.SIGINT)
    again = shlex.join(["srlab", name, *(word for word in arguments if word.lower() != "fresh=true")])
    if all(os.environ.get(rank, "0") == "0" for rank in ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK")):  # one of several
        print(f"srlab {name}: {stop}{f'; this goes on:  {again}' if stop.goes_on else ''}", file=sys.stderr)
    return stop.exit_code


def _with_action(name: str, arguments: list[str]) -> list[str]:
    """``srlab study create ...`` for ``srlab study action=create ...``, of every command that has actions."""
    first, *rest = arguments or [""]
    if not first.isidentifier() or "\naction:" not in (config_dir() / f"{name}.yaml").read_text(encoding="utf-8"):
        return arguments
    return [f"action={first}", *rest]


def _run(name: str, arguments: list[str]) -> int:
    from sr_lab.config.compose import compose, to_yaml
    from sr_lab.config.multirun import jobs

    overrides = [argument for argument in _with_action(name, arguments) if not argument.startswith("-")]
    show = "--cfg" in arguments

    def work(make: Callable[[], Any]) -> int:
        config = make()
        if show:
            print(to_yaml(config))
            return 0
        return int(importlib.import_module(f"sr_lab.commands.{name}").run(config) or 0)

    if "-m" not in arguments and "--multirun" not in arguments:
        return _guarded(f"srlab {name}", lambda: work(functools.partial(compose, name, overrides)), [name, *arguments])
    planned = []
    if code := _guarded(f"srlab {name}", lambda: planned.extend(jobs(name, overrides))):
        return code
    codes = {}
    for number, job in enumerate(planned, 1):
        title = f"job {number} of {len(planned)} ({job.label})"
        print(f"== {title}", flush=True)
        codes[title] = _guarded(f"srlab {name}: {title}", functools.partial(work, job.compose))
    if failed := [f"{title}: exit code {code}" for title, code in codes.items() if code]:
        listing = "\n".join(failed)
        print(
            f"srlab {name}: {len(failed)} of {counted(len(codes), 'job')} did not end with 0:\n{listing}",
            file=sys.stderr,
        )
    return max(codes.values())


def _guarded(title: str, work: Callable[[], int | None], words: Sequence[str] = ()) -> int:
    """Does the work; an error that tells the user something becomes a message and an exit code.

    An error that knows settings which would have done (``instead``) is followed by the command with these.
    """
    try:
        return int(work() or 0)
    except ConfigError as error:
        _record(error)
        print(f"{title}: {error}", file=sys.stderr)
        return USAGE_ERROR
    except ModuleNotFoundError as error:
        told = remedy(str(error.name))
        if told is None:
            raise
        print(f"{title}: {told}", file=sys.stderr)
        return 1
    except (ValueError, OSError, RuntimeError) as error:
        _record(error)
        if os.environ.get("SRLAB_DEBUG"):
            raise
        print(f"{title}: error: {_told(error)}\n(SRLAB_DEBUG=1 shows where)", file=sys.stderr)
        instead: Mapping[str, Any] = getattr(error, "instead", None) or {}
        if words and instead:
            kept = [word for word in words if word.partition("=")[0] not in instead]
            again = shlex.join(["srlab", *kept, *(setting(key, value) for key, value in instead.items())])
            print(f"this passes:  {again}", file=sys.stderr)
        return 1


def _told(error: Exception) -> str:
    """An error's message; that of the system, which names a file and a number, with what to do."""
    if not (isinstance(error, OSError) and error.filename and str(error).startswith("[Errno")):
        return str(error)
    place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
    hint = {
        errno.ENOTDIR: "a part of this path is a file: give another place",
        errno.EISDIR: "it is a folder: name a file",
        errno.EACCES: "give a place that you may read and write",
        errno.EPERM: "give a place that you may read and write",
        errno.EROFS: "give a place that can be written",
        errno.ENAMETOOLONG: "give a shorter name",
    }.get(error.errno or 0)
    return f"{place}: {error.strerror}{f': {hint}' if hint else ''}"


def _record(error: Exception) -> None:
    """Writes what failed where the program that started this one wants to read it: into the file SRLAB_ERROR."""
    if path := os.environ.get("SRLAB_ERROR"):
        with contextlib.suppress(OSError):
            content = {"type": type(error).__name__, "message": str(error) or type(error).__name__}
            Path(path).write_text(json.dumps(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
