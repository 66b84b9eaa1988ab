"""What can be said of numbers: means and medians with their bounds, and corrections for many tests at once."""

from sr_lab.base.statistics.means import LEAST, Interval, cluster_means, mean_interval, skew_factor
from sr_lab.base.statistics.medians import median_bounds

__all__ = ["LEAST", "Interval", "cluster_means", "mean_interval", "median_bounds", "skew_factor"]
