"""Semantic segmentation: one class for each pixel."""

from moganet.tasks.segment.task import Segment

TASK = Segment()
