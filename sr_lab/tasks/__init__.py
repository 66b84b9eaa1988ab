"""Is it worth it downstream? Text, codes, faces and objects are read from restored images and held against the truth.

A ``Task`` reads a picture and gives what it found; its scores are metrics like others (``Task.metrics``).
"""

from sr_lab.tasks.base import Quantity, Task, TaskMetric

__all__ = ["Quantity", "Task", "TaskMetric"]
