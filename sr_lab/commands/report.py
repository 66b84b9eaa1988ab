"""A sweep over choices and seeds as a table for a paper: means with intervals, each choice tested against the baseline.

    srlab sweep experiment=E sweep=ablation_loss
    srlab report sweep=runs/E_ablation_loss 'baseline={loss: "[l1]"}'

Writes OUTPUT/table.md, OUTPUT/table.tex (booktabs), OUTPUT/ablation.png and OUTPUT/ablation.pdf. Intervals are
Student's over the seeds, the test is the paired t test by seed, corrected over the choices (Holm). The numbers are of
the validation images that the sweep saw: they rank choices and are no benchmark result.
"""

from omegaconf import DictConfig

from sr_lab.config.call import called
from sr_lab.config.compose import plain
from sr_lab.config.words import counted
from sr_lab.workflows.ablation import ablation


def run(cfg: DictConfig) -> int:
    """Makes the tables and plots that ``cfg`` asks for."""
    found = called(ablation, cfg, baseline=None if cfg.baseline is None else tuple(plain(cfg.baseline).items()))
    print(found.table, end="")
    if found.num_left_out:
        print(f"{counted(found.num_left_out, 'trial', 'is/are', of=found.num_trials)} not complete and left out")
    print(f"tables and plots: {found.output}")
    return 0
