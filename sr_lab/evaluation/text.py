"""Scores as lines of text, for a terminal."""

from sr_lab.base.words import counted
from sr_lab.evaluation.scores import Scores
from sr_lab.evaluation.tasks import task_lines


def mean_lines(scores: Scores) -> list[str]:
    """The means as a table, a line for each restorer; of clips over frames and over clips."""
    keys = list(scores.metrics)
    rows = [
        ["", *keys],
        *([name, *(scores.words(key).value(scores.mean(key, name)) for key in keys)] for name in scores.names),
    ]
    if scores.clips:
        rows += [
            [f"{name}, of clips", *(scores.words(key).value(scores.mean_of_clips(key, name)) for key in keys)]
            for name in scores.names
        ]
        if any(scores.metrics[key].own for key in keys):
            own = [
                scores.words(key).value(scores.original_mean(key)) if scores.metrics[key].own else "" for key in keys
            ]
            rows.append(["the original itself", *own])
    count = counted(len(scores.scored), "frame" if scores.clips else "image")
    if scores.clips:
        count += f" of {counted(len(scores.clips), 'clip')}, means over frames and over clips"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"{scores.benchmark.folder}, x{scores.scale}, protocol {scores.protocol.name}, {count}:",
        *("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows),
        *(f"{key}: not measured: {reason}" for key, reason in scores.not_measured.items()),
    ]


def gain_lines(scores: Scores) -> list[str]:
    """What tasks gain: a line for each number and source, with the paired gain over bicubic."""
    lines = [line for line in task_lines(scores) if not line.group]
    width = max((len(line.source) for line in lines), default=0)
    texts = []
    for line in lines:
        words = scores.words(line.metric)
        gain = "" if line.gain is None else f"  gain {words.value(line.gain, sign=True)}"
        if line.gain_low is not None and line.gain_high is not None:
            gain += f" [{words.value(line.gain_low, sign=True)}, {words.value(line.gain_high, sign=True)}]"
        texts.append(f"{line.metric}  {line.source:<{width}}  {words.value(line.mean)}{gain}")
    return texts
