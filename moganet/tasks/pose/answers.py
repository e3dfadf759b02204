"""What a network for key points answers: poses of an image, each with its box, its score and its key points."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moganet.data.skeletons import Skeleton
from moganet.numbers import count
from moganet.report.poses import draw_poses
from moganet.results import Record
from moganet.tasks.pose.scores import without_doubles
from moganet.tasks.records import CocoResult, Row

COLUMNS = (
    *("file", "pose", "score", "box_x", "box_y", "box_width", "box_height"),
    *("name", "x", "y", "point_score"),
)
SHOWN = 5  # poses in a line of text


@dataclass(frozen=True)
class Poses:
    """An image's answer, in its pixels.

    points (N, K, 3): x, y and score of each key point. boxes (N, 5): x, y, width, height, and the box's own score.
    scores (N,): of each pose. names: of the key points.
    """

    points: NDArray[np.floating[Any]]
    boxes: NDArray[np.floating[Any]]
    scores: NDArray[np.float64]
    skeleton: Skeleton

    @property
    def names(self) -> tuple[str, ...]:
        """Name the key points."""
        return self.skeleton.names

    def __len__(self) -> int:
        return len(self.points)

    def apart(self) -> list[int]:
        """Give the places of those that are not of one person with a better one, as evaluation counts them."""
        areas = self.boxes[:, 2] * self.boxes[:, 3]
        return without_doubles(self.points, self.scores, areas, self.skeleton.sigmas)

    def result(self, place: int, image: int) -> CocoResult:
        """Give one as COCO's list of results has it. image: the id."""
        return {
            "image_id": image,
            "category_id": 1,
            "bbox": self.boxes[place, :4].tolist(),
            "keypoints": self.points[place].ravel().tolist(),
            "score": float(self.scores[place]),
        }

    def overlay(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Draw the poses on the image uint8 (H, W, 3)."""
        return draw_poses(image, self.points, self.boxes, self.skeleton)


class KeyPoint(Record):
    """Where a key point lies, in pixels from the upper left corner, and how sure that is, about 0 to 1."""

    name: str
    x: float
    y: float
    score: float


class Pose(Record):
    """A thing with its key points. box: x, y, width, height in pixels. box_score: what its detector gave it, or 1."""

    score: float
    box: tuple[float, float, float, float]
    box_score: float
    points: tuple[KeyPoint, ...]


class PoseRow(Row):
    """The poses of an image. truth: what is marked. picture: the file with them drawn."""

    poses: tuple[Pose, ...]
    picture: str | None = None

    @classmethod
    def of(cls, file: str, answer: Poses, truth: str | None, *, trained: bool) -> "PoseRow":
        """Make one of an answer."""
        poses = tuple(
            Pose(
                score=float(answer.scores[i]),
                box=tuple(box[:4].tolist()),
                box_score=float(box[4]),
                points=tuple(
                    KeyPoint(name=name, x=float(x), y=float(y), score=float(score))
                    for name, (x, y, score) in zip(answer.names, answer.points[i], strict=True)
                ),
            )
            for i, box in enumerate(answer.boxes)
        )
        return cls.made(file, truth, trained=trained, poses=poses)

    def text(self) -> str:
        """Say how many poses there are, and how sure each is."""
        more = ", …" if len(self.poses) > SHOWN else ""
        scores = ", ".join(f"{pose.score:.2f}" for pose in self.poses[:SHOWN]) + more
        said = f"{count(len(self.poses), 'pose')} (score {scores})" if self.poses else "no pose: no box"
        return " ".join([said, *self.remarks()])

    def cells(self) -> Iterable[Sequence[object]]:
        """Give a line a key point."""
        for number, pose in enumerate(self.poses, 1):
            own = (self.file, number, f"{pose.score:.4f}", *(f"{side:.2f}" for side in pose.box))
            for point in pose.points:
                yield *own, point.name, f"{point.x:.2f}", f"{point.y:.2f}", f"{point.score:.4f}"
