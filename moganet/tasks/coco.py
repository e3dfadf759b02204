"""COCO's evaluation, by faster-coco-eval, whose numbers are pycocotools' and which prints nothing here."""

from collections.abc import Mapping, Sequence
from typing import Any

from moganet.errors import import_extra


class Judge:
    """What is there and what was found, each read once. Raises MissingExtraError.

    truth: as COCO's files of annotations have it. results: as its lists of results.
    """

    def __init__(self, truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> None:
        self.library = import_extra("faster_coco_eval", "COCO's evaluation", "dense")
        self.truth = self.library.COCO(truth, print_function=_quiet)
        self.found = self.truth.loadRes(results)

    def judged(self, kind: str, names: Sequence[str], **how: Any) -> tuple[dict[str, float | None], Any]:
        """Give figures by their names, None where nothing is there to be found, and the library's own evaluation.

        kind: "bbox", "segm" or "keypoints". how: the library's own options.
        """
        one = self.library.COCOeval_faster(self.truth, self.found, kind, print_function=_quiet, **how)
        one.evaluate()
        one.accumulate()
        one.summarize()
        values = [float(value) for value in one.stats[: len(names)]]
        return {name: None if value < 0 else value for name, value in zip(names, values, strict=True)}, one


def _quiet(*words: Any) -> None:
    """Print nothing."""
