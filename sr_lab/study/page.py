"""The page that raters see: one file that needs nothing from elsewhere, and names nothing."""

from pathlib import Path
from typing import Any

from sr_lab.base.page import embed, render
from sr_lab.study.plan import PICTURES, Picture, Plan, picture_name

TEMPLATE = Path(__file__).with_name("page.html.j2")


def page_of(plan: Plan, *, embedded: dict[str, str] | None = None) -> str:
    """The page of a study.

    Args:
        plan: The study. Of it the page holds neither names of restorers and images, nor which trials are checks.
        embedded: Picture's name to its address, where the page holds the pictures itself; None: they lie beside it.
    """
    return render(TEMPLATE, title=plan.title, question=plan.question, data=embed(_content(plan, embedded)))


def _content(plan: Plan, embedded: dict[str, str] | None) -> dict[str, Any]:
    shown = sorted({name for trial in plan.trials.values() for name in (trial.first, trial.second)})
    originals = {}
    if plan.reference:
        originals = {
            name: picture_name(plan.secret, Picture(image=plan.pictures[name].image, shows="original"))
            for name in shown
        }
    return {
        "study": plan.id,
        "seal": plan.seal,
        "seed": plan.seed,
        "display": plan.display,
        "least": plan.rules.least_seconds,
        "blocks": [list(block) for block in plan.blocks],
        "trials": {
            trial.id: [trial.first, trial.second, trial.key, originals.get(trial.first)]
            for _, trial in sorted(plan.trials.items())
        },
        "pictures": f"{PICTURES}/" if embedded is None else dict(sorted(embedded.items())),
    }
