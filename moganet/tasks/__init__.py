"""Tasks by name: what a network learns and answers, a folder each.

To add one: a folder here that fills the contract in `task.py`, a line below, its recipes, its documentation.
"""

from moganet.tasks import classify, multilabel, segment
from moganet.tasks.task import Task

TASKS: dict[str, Task] = {task.name: task for task in (classify.TASK, multilabel.TASK, segment.TASK)}

__all__ = ["TASKS", "Task"]
