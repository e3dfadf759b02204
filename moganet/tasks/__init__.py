"""Tasks by name: what a network learns and answers, a folder each.

To add one: a folder here that fills the contract in `task.py`, a line below, its recipes, its documentation.
"""

from moganet.results import Metric
from moganet.tasks import classify, detect, multilabel, pose, segment
from moganet.tasks.task import Task

_EVERY = (classify.TASK, multilabel.TASK, segment.TASK, detect.TASK, pose.TASK)
TASKS: dict[str, Task] = {task.name: task for task in _EVERY}


def monitor_named(name: str) -> Metric:
    """Give the figure of that name by which a task's best weights are chosen."""
    return next(task.monitor for task in TASKS.values() if task.monitor.name == name)


__all__ = ["TASKS", "Task", "monitor_named"]
