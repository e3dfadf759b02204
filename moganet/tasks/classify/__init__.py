"""Image classification: one class an image."""

from moganet.tasks.classify.task import Classify

TASK = Classify()
