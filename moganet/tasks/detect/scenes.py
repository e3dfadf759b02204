"""What images show and what was found in them, as COCO's evaluation needs it: in pixels of each image, packed in bytes.

Bytes, a line an image, are what several processes can share, and take little room where masks are runs.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moganet.data.outlines import compressed, runs_of_mask
from moganet.tasks.detect.pasting import paste
from moganet.tasks.detect.seeing import found_at
from moganet.tasks.overlaps import Boxes
from moganet.tasks.records import CocoResult


@dataclass(frozen=True, eq=False)
class Things:
    """Things in an image: boxes (n, 4), labels (n,) and, where they have masks, compressed runs of these.

    scores: of what was found. areas, crowd: of what is there, as COCO's evaluation takes them.
    """

    boxes: Boxes
    labels: NDArray[np.int64]
    runs: tuple[str, ...] | None = None
    scores: NDArray[np.float64] | None = None
    areas: NDArray[np.float64] | None = None
    crowd: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def plain(self) -> dict[str, Any]:
        """Give what JSON takes; no number loses a digit."""
        every = {name: getattr(self, name) for name in ("boxes", "labels", "scores", "areas", "crowd")}
        return {"runs": self.runs, **{name: None if one is None else one.tolist() for name, one in every.items()}}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Things":
        """Read what `plain` gave."""
        kinds = {"scores": np.float64, "areas": np.float64, "crowd": np.bool_}
        return cls(
            np.array(plain["boxes"], np.float64).reshape(-1, 4),
            np.array(plain["labels"], np.int64),
            None if plain["runs"] is None else tuple(plain["runs"]),
            **{name: None if plain[name] is None else np.array(plain[name], kind) for name, kind in kinds.items()},
        )


@dataclass(frozen=True, eq=False)
class Scene:
    """An image by its number, its height and width, what is there, and what was found."""

    image: int
    size: tuple[int, int]
    truth: Things
    found: Things

    def packed(self) -> bytes:
        """Give it as a line of JSON."""
        plain = {"image": self.image, "size": self.size, "truth": self.truth.plain(), "found": self.found.plain()}
        return json.dumps(plain).encode() + b"\n"


def scenes_of(outputs: Mapping[str, NDArray[Any]], targets: Sequence[Any]) -> Iterator[Scene]:
    """Bring what a network gives for images, in their own pixels, and what is marked there together.

    outputs: boxes (B, K, 4), scores and labels (B, K), and perhaps masks (B, K, 28, 28). targets: as of BoxTargets.
    """
    for number, target in enumerate(targets):
        plain = {key: value.numpy() if hasattr(value, "numpy") else value for key, value in target.items()}
        size = int(plain["size"][0]), int(plain["size"][1])
        found = found_in(found_at(outputs, number), size)
        truth = Things(
            plain["boxes"].astype(np.float64),
            plain["labels"],
            None if plain.get("masks") is None else tuple(map(runs_text, plain["masks"])),
            areas=plain["area"],
            crowd=plain["crowd"],
        )
        yield Scene(int(plain["image_id"]), size, truth, found)


def found_in(outputs: Mapping[str, NDArray[Any]], size: tuple[int, int]) -> Things:
    """Give what a network found in one image of a size (height, width), the surest first."""
    boxes, masks = outputs["boxes"], outputs.get("masks")
    return Things(
        boxes.astype(np.float64),
        outputs["labels"].astype(np.int64),
        None if masks is None else tuple(runs_text(one) for one in pasted_each(masks, boxes, size)),
        scores=outputs["scores"].astype(np.float64),
    )


def runs_text(mask: NDArray[Any]) -> str:
    """Give a mask (H, W) as COCO's compressed runs."""
    return compressed(runs_of_mask(mask))


def pasted_each(masks: Any, boxes: Any, size: tuple[int, int]) -> Iterator[NDArray[np.bool_]]:
    """Give the mask (H, W) of each thing, one at a time: all of a large image's at once would need much room."""
    for i in range(len(boxes)):
        yield paste(masks[i : i + 1], boxes[i : i + 1], size)[0]


def unpacked(lines: bytes) -> list[Scene]:
    """Read scenes from their lines."""
    return [
        Scene(one["image"], (one["size"][0], one["size"][1]), Things.of(one["truth"]), Things.of(one["found"]))
        for one in map(json.loads, lines.splitlines())
    ]


def results_of(found: Things, image: int, size: Sequence[int], numbers: Sequence[int]) -> list[CocoResult]:
    """Give what was found as COCO's list of results. numbers: COCO's of the classes."""
    assert found.scores is not None
    results: list[CocoResult] = []
    for i, (box, label, score) in enumerate(
        zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
    ):
        one = CocoResult(image_id=image, category_id=numbers[label], bbox=as_sides(box), score=score)
        if found.runs is not None:
            one["segmentation"] = {"size": list(size), "counts": found.runs[i]}
        results.append(one)
    return results


def as_sides(box: Sequence[float]) -> list[float]:
    """Give a box as left, top, width and height."""
    left, top, right, bottom = box
    return [left, top, right - left, bottom - top]


def in_order(scenes: Iterable[Scene]) -> list[Scene]:
    """Give scenes by their images' numbers, which are made different where two images have one."""
    ordered = sorted(scenes, key=lambda one: one.image)
    if len({one.image for one in ordered}) == len(ordered):
        return ordered
    return [Scene(number, one.size, one.truth, one.found) for number, one in enumerate(ordered, 1)]
