"""What can be said of numbers: means and medians with their bounds, bets on means, and one alpha for many decisions."""

from sr_lab.base.statistics.betting import Gambler, Purse, confidence_sequence
from sr_lab.base.statistics.energy import EnergyTest, energy_test
from sr_lab.base.statistics.means import LEAST, Interval, cluster_means, mean_interval, skew_factor
from sr_lab.base.statistics.medians import median_bounds
from sr_lab.base.statistics.seeds import half_width, holm, paired_p
from sr_lab.base.statistics.spending import spent_evenly

__all__ = [
    "LEAST",
    "EnergyTest",
    "Gambler",
    "Interval",
    "Purse",
    "cluster_means",
    "confidence_sequence",
    "energy_test",
    "half_width",
    "holm",
    "mean_interval",
    "median_bounds",
    "paired_p",
    "skew_factor",
    "spent_evenly",
]
