"""Drift without ground truth: features of images, their profile, tests of one set against another, and what follows.

``measure_folder`` makes a profile, ``compare`` tests images against it, ``RepeatedChecks`` spends alpha over them,
``Stream`` watches image by image, ``explain`` names the change.
"""

from sr_lab.monitoring.comparison import Drift, compare
from sr_lab.monitoring.explanation import Change, explain
from sr_lab.monitoring.measuring import Extractor, measure_folder
from sr_lab.monitoring.profile import Profile, read_profile, write_profile
from sr_lab.monitoring.repeated import RepeatedChecks
from sr_lab.monitoring.stream import Stream

__all__ = [
    "Change",
    "Drift",
    "Extractor",
    "Profile",
    "RepeatedChecks",
    "Stream",
    "compare",
    "explain",
    "measure_folder",
    "read_profile",
    "write_profile",
]
