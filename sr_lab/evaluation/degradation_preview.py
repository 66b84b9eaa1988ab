"""What a degradation does to one image, as sections of a contact sheet."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from sr_lab.degradations.base import Degradation, Params, record
from sr_lab.degradations.trace import summary, trace
from sr_lab.evaluation.contact_sheet import Panel, Section, picture


def cut_middle(image: Tensor, side: int, scale: int) -> Tensor:
    """The square in the middle of (1, C, H, W), ``side`` or what there is, its sides multiples of ``scale``.

    Raises:
        ValueError: if the image or ``side`` is smaller than ``scale``.
    """
    height, width = image.shape[2:]
    tall, wide = (min(side, length) // scale * scale for length in (height, width))
    if tall < 1 or wide < 1:
        raise ValueError(f"{width}x{height} pixels cut to {side} leave nothing at scale={scale}: raise side")
    top, left = (height - tall) // 2, (width - wide) // 2
    return image[:, :, top : top + tall, left : left + wide]


def step_section(degradation: Degradation, high: Tensor, params: Params, *, name: str, key: str) -> Section:
    """One draw, operation by operation.

    Args:
        degradation: that drew ``params``.
        high: (1, C, H, W).
        params: of one sample.
        name: of the degradation.
        key: of the draw, in words.
    """
    panels = [Panel(picture(high), "the image", [_size(high)])]
    skipped = []
    for step in trace(degradation, high, params):
        if not step.applied:
            skipped.append(step.name)
            continue
        number = len(panels)
        lines = [f"{step.kind}, {_size(step.image)}", *([step.text] if step.text else [])]
        panels.append(Panel(picture(step.image), f"{number}. {step.name or name}", lines))
    note = f"Draw {key}. Every picture is the result of the operation named below it; all are shown at one size."
    if skipped:
        note += f" Passed over in this draw: {', '.join(skipped)}."
    return Section("Operation by operation", note, panels)


def draws_section(degradation: Degradation, high: Tensor, draws: Mapping[str, Params], *, title: str) -> Section:
    """Several draws for one image, each with its parameters.

    Args:
        degradation: that drew them.
        high: (1, C, H, W).
        draws: parameters of one sample each, by the words for their key.
        title: of the section.
    """
    panels = []
    for key, params in draws.items():
        low = degradation.apply(high, params)
        details = [(name, _short(value)) for name, value in (record(params)[0] if params else {}).items()]
        panels.append(Panel(picture(low), f"draw {key}", _lines(degradation, params), details))
    return Section(title, f"Low images of {_size(low)}, enlarged without smoothing.", panels)


def ladder_sections(
    levels: Mapping[str, Degradation], high: Tensor, keys: Sequence[tuple[int, int, int]]
) -> list[Section]:
    """A row of draws for each severity, from weak to severe; the keys are the same in every row."""
    sections = []
    for level, degradation in levels.items():
        draws = {str(key): degradation.draw_keyed([key]) for key in keys}
        panels = [Panel(picture(high), "the image", [_size(high)])]
        drawn = draws_section(degradation, high, draws, title=f"Severity: {level}")
        note = f"{drawn.note} Preset severity, every draw from level {level}."
        sections.append(Section(drawn.title, note, [*panels, *drawn.panels]))
    return sections


def _lines(degradation: Degradation, params: Params) -> list[str]:
    """A line an operation, named by the first and the last part of where it stands, without what all share."""
    told = [(name.split("."), text) for name, text in summary(degradation, params) if text]
    while told and all(len(path) > 1 and path[0] == told[0][0][0] for path, _ in told):
        told = [(path[1:], text) for path, text in told]
    return [f"• {' '.join(dict.fromkeys((path[0], path[-1])))}: {text}" for path, text in told]


def _size(image: Tensor) -> str:
    return f"{image.shape[3]} × {image.shape[2]} pixels"


def _short(value: object) -> str:
    if isinstance(value, list):
        return " ".join(_short(item) for item in value)
    return f"{value:.5g}" if isinstance(value, float) else str(value)
