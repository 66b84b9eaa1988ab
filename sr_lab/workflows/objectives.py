"""Objectives written out for Prometheus, Alertmanager and Grafana, and checked by their own programs."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sr_lab.base.files import replacing_folder
from sr_lab.objectives.dashboards import dashboards
from sr_lab.objectives.objective import Objectives
from sr_lab.objectives.receiving import alertmanager
from sr_lab.objectives.rules import prometheus, rules
from sr_lab.objectives.scenarios import scenarios

PROMETHEUS, ALERTMANAGER = "prometheus.yaml", "alertmanager.yaml"
CHECKS = {
    "promtool": (
        ("check", "rules", "rules/*.yaml"),
        ("test", "rules", "tests/*.yaml"),
        ("check", "config", PROMETHEUS),
    ),
    "amtool": (("check-config", ALERTMANAGER),),
}


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written.

    Attributes:
        folder: Where.
        num_alerts: Alerts.
        num_tests: Stories that test them.
        checked: Command lines that found nothing wrong.
        unchecked: Programs that are not installed, so that what they read is not checked.
    """

    folder: Path
    num_alerts: int
    num_tests: int
    checked: tuple[str, ...]
    unchecked: tuple[str, ...]


def write_objectives(
    objectives: Objectives, folder: Path, *, alertmanager_address: str = "127.0.0.1:9093", check: bool = True
) -> Written:
    """Writes the files of objectives into a folder, which appears whole or not at all.

    Args:
        objectives: What is promised.
        folder: Replaced if it is there.
        alertmanager_address: Where Prometheus finds Alertmanager, HOST:PORT.
        check: Whether their own programs look at the files and run the tests, where they are installed.

    Raises:
        ValueError: If a program says that something is wrong with what was written.
    """
    tests = scenarios(objectives)
    content = {
        PROMETHEUS: prometheus(objectives, alertmanager=alertmanager_address),
        ALERTMANAGER: alertmanager(objectives),
        **{f"rules/{name}.yaml": file for name, file in rules(objectives).items()},
        **{f"tests/{name}.yaml": file for name, file in tests.items()},
    }
    with replacing_folder(folder) as place:
        for below in ("rules", "tests"):
            (place / below).mkdir()
        for name, tree in content.items():
            (place / name).write_text(_yaml(tree), encoding="utf-8")
        (place / "dashboards").mkdir()
        for name, model in dashboards(objectives).items():
            text = json.dumps(model, indent=1) + "\n"
            (place / "dashboards" / f"{name}.json").write_text(text, encoding="utf-8")
        checked, unchecked = _checked(place) if check else ((), ())
    num_tests = sum(len(file["tests"]) for file in tests.values())
    return Written(folder=folder, num_alerts=len(tests), num_tests=num_tests, checked=checked, unchecked=unchecked)


def _yaml(tree: Any) -> str:
    text: str = yaml.safe_dump(tree, sort_keys=False, width=1000, allow_unicode=True)
    return "# Written by srlab slo; edit conf/deploy/slo.yaml instead.\n" + text


def _checked(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    checked, unchecked = [], []
    for program, commands in CHECKS.items():
        found = shutil.which(program)
        if found is None:
            unchecked.append(program)
            continue
        for words in commands:
            files = [str(file.relative_to(folder)) for word in words for file in sorted(folder.glob(word))]
            options = [word for word in words if not any(folder.glob(word))]
            done = subprocess.run([found, *options, *files], cwd=folder, capture_output=True, text=True, check=False)
            told = f"{program} {' '.join(words)}"
            if done.returncode:
                raise ValueError(f"{told}: {(done.stderr + done.stdout).strip()[:2000]}")
            checked.append(told)
    return tuple(checked), tuple(unchecked)
