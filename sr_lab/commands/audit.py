"""Looks for unreadable files, duplicates, and test images that sit in the training folder.

    srlab audit train=DIR test=DIR
    srlab audit train=[DIR,DIR] test=[DIR,DIR] report=audit.json exclude=exclude.json

Exit code 0 if nothing was found, 1 with findings. Training does the same audit by itself against data.val and
data.holdout; the exclusion file serves other folders (data.train.exclude=exclude.json).
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from tqdm import tqdm

from sr_lab.base.files import write_json
from sr_lab.data.audit import audit
from sr_lab.images import list_images


def run(cfg: DictConfig) -> int:
    """Returns 0 if the folders are clean, else 1."""
    train, test = _files(cfg.train), _files(cfg.test)
    with tqdm(total=len(train) + len(test), desc="audit", unit="file", delay=1, leave=False) as bar:
        report = audit(train, test, progress=bar.update)
    for line in report.lines():
        print(line)
    if cfg.report is not None:
        write_json(Path(cfg.report), report.to_dict())
    if cfg.exclude is not None:
        write_json(Path(cfg.exclude), report.exclusions)
    looked = f"{report.num_train} training and {report.num_test} test files"
    if report.clean:
        print(f"clean: {looked}")
        return 0
    file = "exclude.json" if cfg.exclude is None else cfg.exclude
    how = f"train with data.train.exclude={file}"
    if cfg.exclude is None:
        how = f"add exclude={file} to this command, then {how}"
    counts = f"{len(report.leaks)} leaks, {len(report.duplicates)} duplicates, {len(report.unreadable)} unreadable"
    print(f"{looked}: {counts}.")
    if report.exclusions:
        print(f"To leave out these {len(report.exclusions)} training files: {how}")
    return 1


def _files(folders: Any) -> list[Path]:
    """The images of one folder or of several, each file once."""
    listed = [folders] if isinstance(folders, str) else list(folders)
    return list(dict.fromkeys(file for folder in listed for file in list_images(Path(str(folder)))))
