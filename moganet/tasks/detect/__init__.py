"""Detection: boxes of objects, their classes, and masks where the model has them."""

from moganet.tasks.detect.task import Detect

TASK = Detect()
