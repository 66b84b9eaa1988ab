"""Ask people which restorer they prefer, by blind pairs, and say what follows from the answers.

    srlab study create restorers=[edge,bicubic,runs/NAME/best] images=photos output=study
    srlab serve study=study                                # raters answer at /study/, or: send them the folder page/
    srlab study analyse output=study                       # report.html and result.json
    srlab study more output=study raters=10                # further codes, pairs by information where there are many

create restores the images, cuts the same part out of every result, and writes study/page (what raters get, pictures
under names that tell nothing) and study/codes.csv (a code and a link for each rater). Answers over HTTP are appended to
study/answers; files that raters send are put there too. analyse leaves out raters by the rules that were fixed when the
study was made, and gives scores (Bradley and Terry, with ties, sides and raters), with intervals over raters and over
images. Exit code 0: it was done; analyse: some vote counts.
"""

from pathlib import Path

from omegaconf import DictConfig

from sr_lab.base.errors import ConfigError
from sr_lab.config.compose import build
from sr_lab.config.words import counted
from sr_lab.workflows import study
from sr_lab.workflows.load import choose_device
from sr_lab.workflows.showing import load_restorers

ACTIONS = ("create", "more", "analyse")


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    if cfg.action not in ACTIONS:
        raise ConfigError(f"action={cfg.action}: one of {', '.join(ACTIONS)}")
    if cfg.action == "analyse":
        found = analyse(cfg)
        print(f"{found.text}\nreport: {found.report}\nnumbers: {found.result}")
        return 0
    made = create(cfg) if cfg.action == "create" else study.more(Path(cfg.output), raters=cfg.raters, votes=cfg.votes)
    print(
        f"{counted(len(made.codes), 'code')} in {made.folder / 'codes.csv'}; each rater judges "
        f"{counted(made.trials, 'pair')}, "
        f"{made.checks} of them checks\npage: {made.page}"
    )
    for what, command in study.how_to_go_on(made.folder).items():
        print(f"{what}: {command}")
    return 0


def create(cfg: DictConfig) -> study.Made:
    """The study that ``cfg`` asks for, made."""
    if cfg.images is None:
        raise ConfigError("srlab study create needs images=")
    device = choose_device(cfg.device)
    restorers, scale = load_restorers(
        [str(name) for name in cfg.restorers],
        scale=cfg.scale,
        pictures={str(name): Path(place) for name, place in cfg.pictures.items()},
        device=device,
        tracking_uri=cfg.tracking_uri,
        tile=cfg.tile,
        engine=cfg.engine,
        seed=cfg.seed,
    )
    cfg = cfg.copy()
    cfg.scale = scale
    return study.create(
        restorers,
        Path(cfg.images),
        output=Path(cfg.output),
        scale=scale,
        protocol=build(cfg.protocol),
        rules=build(cfg.rules),
        metrics={name: build(node) for name, node in cfg.metrics.items()},
        as_input=cfg.as_input,
        degradation=None if cfg.degradation is None else build(cfg.degradation),
        title=cfg.title,
        question=cfg.question,
        display=cfg.display,
        show_original=cfg.show_original,
        side=cfg.side,
        where=cfg.where,
        num_images=cfg.num_images,
        raters=cfg.raters,
        votes=cfg.votes or study.VOTES,
        checks=cfg.checks,
        blur=cfg.blur,
        embedded=cfg.embedded,
        seed=cfg.seed,
        device=device,
    )


def analyse(cfg: DictConfig) -> study.Analysis:
    """What the answers of the study that ``cfg`` names say."""
    return study.analyse(
        Path(cfg.output),
        report=None if cfg.report is None else Path(cfg.report),
        alpha=cfg.alpha,
        num_draws=cfg.draws,
        margin=cfg.margin,
        num_pictures=cfg.num_pictures,
    )
