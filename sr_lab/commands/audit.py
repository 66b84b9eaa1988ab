"""Looks for unreadable files, duplicates, and test images that sit in the training folder.

    srlab audit train=DIR test=DIR
    srlab audit train=[DIR,DIR] test=[DIR,DIR] report=audit.json exclude=exclude.json

Exit code 0 if nothing was found, 1 with findings. Training does the same audit by itself against data.val and
data.holdout; the exclusion file serves other folders (data.train.exclude=exclude.json).
"""

import shlex
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sr_lab.config.words import counted, setting
from sr_lab.workflows.audit import AuditReport, audit


def run(cfg: DictConfig) -> int:
    """Returns 0 if the folders are clean, else 1."""
    report = call(cfg)
    for line in report.lines():
        print(line)
    looked = f"{counted(report.num_train, 'training file')} and {counted(report.num_test, 'test file')}"
    if report.clean:
        print(f"clean: {looked}")
        return 0
    file = "exclude.json" if cfg.exclude is None else cfg.exclude
    how = f"train with {shlex.quote(setting('data.train.exclude', file))}"
    if cfg.exclude is None:
        how = f"add {setting('exclude', file)} to this command, then {how}"
    counts = (
        f"{counted(len(report.leaks), 'leak')}, {counted(len(report.duplicates), 'duplicate')}, "
        f"{len(report.unreadable)} unreadable"
    )
    print(f"{looked}: {counts}.")
    if report.exclusions:
        print(f"To leave out {counted(len(report.exclusions), 'training file')}: {how}")
    return 1


def call(cfg: DictConfig) -> AuditReport:
    """Audits; see the module's docstring."""
    return audit(
        train=_folders(cfg.train),
        test=_folders(cfg.test),
        report=None if cfg.report is None else Path(cfg.report),
        exclude=None if cfg.exclude is None else Path(cfg.exclude),
    )


def _folders(value: Any) -> list[Path]:
    return [Path(str(folder)) for folder in ([value] if isinstance(value, str) else value)]
