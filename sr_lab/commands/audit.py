"""Looks for unreadable files, duplicates, and test images that sit in the training folder.

    srlab audit train=DIR test=DIR
    srlab audit train=[DIR,DIR] test=[DIR,DIR] report=audit.json exclude=exclude.json

Exit code 0 if nothing was found, 1 with findings. Training does the same audit by itself against data.val and
data.holdout; the exclusion file serves other folders (data.train.exclude=exclude.json).
"""

import shlex

from omegaconf import DictConfig

from sr_lab.config.call import called
from sr_lab.config.words import counted, setting
from sr_lab.workflows.audit import audit


def run(cfg: DictConfig) -> int:
    """Returns 0 if the folders are clean, else 1."""
    report = called(audit, cfg)
    for line in report.lines():
        print(line)
    looked = f"{counted(report.num_train, 'training file')} and {counted(report.num_test, 'test file')}"
    if report.clean:
        print(f"clean: {looked}")
        return 0
    print(f"{looked}: {report.counts}.")
    if report.exclusions:
        file = cfg.exclude or "exclude.json"
        how = f"train with {shlex.quote(setting('data.train.exclude', file))}"
        if cfg.exclude is None:
            how = f"add {setting('exclude', file)} to this command, then {how}"
        print(f"To leave out {counted(len(report.exclusions), 'training file')}: {how}")
    return 1
