"""The gate: is a candidate model good enough to replace the champion? Pure functions of numbers and a policy."""

from sr_lab.promotion.gate import Decision, gate
from sr_lab.promotion.measurement import Approval, ImageRow, Measurement
from sr_lab.promotion.policy import Holdout, Policy

__all__ = ["Approval", "Decision", "Holdout", "ImageRow", "Measurement", "Policy", "gate"]
