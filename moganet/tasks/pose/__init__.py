"""Key points: where each lies in what a box holds, a person as a rule."""

from moganet.tasks.pose.task import Pose

TASK = Pose()
