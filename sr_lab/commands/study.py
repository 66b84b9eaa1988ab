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
from sr_lab.commands._actions import chosen
from sr_lab.config.call import called
from sr_lab.workflows import study
from sr_lab.workflows.showing import load_restorers


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    print(chosen(cfg, ACTIONS)(cfg))
    return 0


def create(cfg: DictConfig) -> str:
    """Makes the study that ``cfg`` asks for."""
    if cfg.images is None:
        raise ConfigError("srlab study create needs images=")
    cfg = cfg.copy()
    restorers, cfg.scale = called(load_restorers, cfg, names=list(cfg.restorers))
    return called(study.create, cfg, restorers=restorers, votes=cfg.votes or study.VOTES).text


def more(cfg: DictConfig) -> str:
    """Asks more raters."""
    return called(study.more, cfg, folder=Path(cfg.output)).text


def analyse(cfg: DictConfig) -> str:
    """Says what follows from the answers."""
    found = called(study.analyse, cfg, folder=Path(cfg.output), num_draws=cfg.draws)
    return f"{found.text}\nreport: {found.report}\nnumbers: {found.result}"


ACTIONS = {"create": create, "more": more, "analyse": analyse}
