"""The page of a performance of the loop: its times, its indicators, its pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sr_lab.base import page as pages
from sr_lab.base.figures import add_axes, new_figure, png
from sr_lab.base.files import write_text
from sr_lab.serving.loop_demo import Act, Performance, clock_of
from sr_lab.serving.staging import Seen

_STAGES = {"training": "#3f7cac", "registering": "#8a8f96", "gate": "#a56a00", "rollout": "#2f7d5b"}


def write_page(done: Performance, file: Path) -> Path:
    """Writes the page beside the folders of watcher and service, which it links to; gives it."""
    first = done.acts[0]
    alarm = next((moment for moment, text in first.events if "alarm" in text), None)
    swap = next((moment for moment, text in first.events if "swaps" in text), None)
    html = pages.render(
        Path(__file__).with_name("loop.html.j2"),
        filters={"zip": zip},
        done=done,
        acts=[_told(act, done, file.parent) for act in done.acts],
        gain=first.after[0].psnr - first.before[0].psnr,
        gain_before=first.after[1].psnr - first.before[1].psnr,
        alarm=None if alarm is None else alarm - first.changed,
        swap=None if swap is None else swap - first.changed,
        slowest=max((answer.seconds for answer in done.answers), default=0.0),
        median=float(np.median([answer.seconds for answer in done.answers])) if done.answers else 0.0,
        plot=_plot(done),
        stages=_STAGES,
    )
    write_text(file, html)
    return file


def _told(act: Act, done: Performance, root: Path) -> dict[str, Any]:
    answers = [a for a in done.answers if act.changed <= a.time <= act.changed + act.seconds]
    versions = sorted({answer.version for answer in answers if answer.version})
    before, after = act.before[0].shown, act.after[0].shown
    pictures = [
        ("as it came in", _large(before[0])),
        (f"version {act.before[0].version}", before[1]),
        (f"version {act.after[0].version}", after[1]),
        ("original", before[2]),
    ]
    return {
        "act": act,
        "events": [(moment - act.changed, clock_of(moment), text) for moment, text in act.events],
        "pages": [(name, page.relative_to(root).as_posix()) for name, page in act.pages],
        "counts": {version: sum(answer.version == version for answer in answers) for version in versions},
        "num": len(answers),
        "lost": sum(answer.status != 200 for answer in answers),
        "pictures": pictures,
    }


def _large(low: Any) -> Any:
    return np.repeat(np.repeat(low, 2, axis=0), 2, axis=1)


def _plot(done: Performance) -> bytes:
    """Indicators over the time: how far features are from the reference, the alarm, what the watcher does, versions."""
    seen = done.seen
    start = seen[0].time
    minutes = np.array([(each.time - start) / 60 for each in seen])
    figure = new_figure(12, 6.4, dpi=110)
    shifts, served, speed = add_axes(figure, 3, top=0.35, sharex=True, height_ratios=[3, 1, 1.4], hspace=0.12)
    for feature, colour in (("noise", "#c43d20"), ("quality", "#3f7cac"), ("blockiness", "#a56a00")):
        values = [each.shifts.get(feature, np.nan) for each in seen]
        shifts.plot(minutes, values, label=feature, color=colour, linewidth=1.6, drawstyle="steps-post")
    for begin, end in _spans(seen, lambda each: each.alarm):
        shifts.axvspan(minutes[begin], minutes[end], color="#c43d20", alpha=0.08, linewidth=0)
    shifts.set_ylabel("shift, robust deviations")
    shifts.set_title("Incoming images: distance from the served version's reference; red: the alarm is on", fontsize=10)
    shifts.legend(fontsize=8, loc="upper right")
    for stage, colour in _STAGES.items():
        for begin, end in _spans(seen, lambda each, stage=stage: each.stage == stage):
            served.axvspan(minutes[begin], minutes[end], color=colour, alpha=0.5, linewidth=0)
    versions = [float(each.version) if each.version else np.nan for each in seen]
    served.plot(minutes, versions, color="black", linewidth=2, drawstyle="steps-post")
    served.set_yticks(sorted({value for value in versions if value == value}))
    served.set_ylabel("version")
    answers = np.array([[(answer.time - start) / 60, answer.seconds] for answer in done.answers])
    if len(answers):
        speed.plot(answers[:, 0], answers[:, 1], ".", markersize=2, color="#3f7cac")
        speed.set_yscale("log")
    speed.set_ylabel("seconds an answer")
    speed.set_xlabel("minutes")
    for act in done.acts:
        for axes in (shifts, served, speed):
            axes.axvline((act.changed - start) / 60, color="#646a72", linestyle="--", linewidth=1)
        shifts.text((act.changed - start) / 60, shifts.get_ylim()[1], f" {act.condition.text}", fontsize=8, va="top")
    return png(figure)


def _spans(seen: Sequence[Seen], holds: Any) -> list[tuple[int, int]]:
    """First and last index of each stretch in which something holds."""
    spans: list[tuple[int, int]] = []
    for index, each in enumerate(seen):
        if not holds(each):
            continue
        if spans and spans[-1][1] == index - 1:
            spans[-1] = (spans[-1][0], index)
        else:
            spans.append((index, index))
    return [(begin, min(end + 1, len(seen) - 1)) for begin, end in spans]
