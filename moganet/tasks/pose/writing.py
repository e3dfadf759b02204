"""What `predict --out` leaves of each image: it with its poses drawn, and tables of all key points."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from moganet.data.skeletons import Skeleton
from moganet.report.masks import in_colours
from moganet.tasks.answer_folder import CLASSES, Tables, claim, make_folder, names_for, save_picture
from moganet.tasks.pose.answers import COLUMNS, PoseRow, Poses

PICTURES, POINTS, COCO = "pictures", "keypoints.csv", "coco.json"
MARK = "moganet key points"  # by which a folder of ours is known again
QUALITY = 92


class PoseWriter:
    """Write the answers for images, in any order, into a folder that is new, empty, or one of ours."""

    def __init__(self, out: Path, files: Sequence[str], skeleton: Skeleton) -> None:
        self.out, self.names, self.skeleton = out, names_for(files, PICTURES, ".jpg"), skeleton
        named = [{"index": i, "name": name} for i, name in enumerate(skeleton.names)]
        claim(out, [f"{PICTURES}/{name}" for name in self.names], MARK, named)
        make_folder(out / PICTURES)
        self.tables = Tables()

    def write(self, place: int, row: Any, image: Any, answer: Poses) -> PoseRow:
        """Write an image's picture. image: uint8 (C, H, W)."""
        drawn = answer.overlay(in_colours(np.asarray(image)))
        picture = save_picture(Image.fromarray(drawn), self.out / PICTURES / self.names[place], quality=QUALITY)
        kept: PoseRow = row.changed(picture=str(picture))
        number = self.tables.add(kept, drawn.shape[:2], picture=self.names[place])
        for i in range(len(answer)):
            area = float(answer.boxes[i, 2] * answer.boxes[i, 3])
            self.tables.annotate(number, **answer.result(i, number), area=area, num_keypoints=len(answer.names))
        return kept

    def close(self) -> list[str]:
        """Write the tables of all images: keypoints.csv, and coco.json in COCO's form."""
        lines = [[one + 1, other + 1] for one, other in self.skeleton.lines]
        category = {"id": 1, "name": "person", "keypoints": list(self.skeleton.names), "skeleton": lines}
        self.tables.write(self.out / POINTS, COLUMNS, self.out / COCO, [category])
        return [CLASSES, PICTURES, POINTS, COCO]
