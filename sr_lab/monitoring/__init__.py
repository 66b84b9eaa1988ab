"""Drift without ground truth: features of images, their profile, tests of one set against another, and what follows.

``measure_folder`` makes a profile, ``compare`` tests images against it, ``Watch`` spends alpha over repeated checks,
``Stream`` watches image by image, ``explain`` names the change, ``retraining.should_retrain`` decides on numbers alone.
"""

from sr_lab.monitoring.comparison import Drift, compare
from sr_lab.monitoring.explanation import Change, explain
from sr_lab.monitoring.measuring import Extractor, measure_folder
from sr_lab.monitoring.profile import Profile, read_profile, write_profile
from sr_lab.monitoring.stream import Stream
from sr_lab.monitoring.watch import Watch

__all__ = [
    "Change",
    "Drift",
    "Extractor",
    "Profile",
    "Stream",
    "Watch",
    "compare",
    "explain",
    "measure_folder",
    "read_profile",
    "write_profile",
]
