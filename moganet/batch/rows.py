"""What a model answers for files, as rows, a batch at a time: the same whichever process does it."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from moganet.data.contents import ImageFile
from moganet.data.within import Within
from moganet.inference.file_stream import BoxesOf, no_boxes
from moganet.inference.files_seen import stream_of_files
from moganet.inference.predictor import Predictor
from moganet.results import LeftOut
from moganet.tasks.records import Row
from moganet.tasks.task import Asked

MEMORY = 600_000_000  # bytes, from which on what is free is given back: large photographs leave much of it
SECONDS = 60.0  # after which a block ends though it has fewer: what an end in the middle costs at most
FIRST = 5  # of the images that can't be read, how many are told of


@dataclass(frozen=True)
class Asking:
    """How files are read and asked about. batch_size, workers, fast_decoding: as in `stream_of_files`."""

    answers: Asked
    batch_size: int | None = None
    workers: int | None = None
    fast_decoding: bool = False


class Rows:
    """The rows of each batch of files, in order, and with them those that could not be read.

    boxes_of: as in `FileStream`, by the place among the files.
    """

    def __init__(
        self, predictor: Predictor, files: Sequence[ImageFile], how: Asking, boxes_of: BoxesOf = no_boxes
    ) -> None:
        self.predictor, self.files, self.how = predictor, files, how
        self.stream = stream_of_files(
            predictor,
            files,
            batch_size=how.batch_size,
            workers=how.workers,
            fast_decoding=how.fast_decoding,
            boxes_of=boxes_of,
        )

    def __len__(self) -> int:
        return len(self.stream)

    def __iter__(self) -> Generator[list[Row | LeftOut], None, None]:
        told = 0
        for seen in self.stream:
            answers = self.predictor.answers(seen.outputs, self.how.answers)
            rows: list[Row | LeftOut] = [
                self._row(self.files[place], answer) for place, answer in zip(seen.places, answers, strict=True)
            ]
            rows += self.stream.unreadable[told:]
            told = len(self.stream.unreadable)
            yield rows
        yield [*self.stream.unreadable[told:]]

    def _row(self, file: ImageFile, answer: Any) -> Row:
        row = self.predictor.task.row(str(file), answer, None, trained=self.predictor.trained)
        return row.changed(time=file.time) if isinstance(file, Within) and file.time is not None else row
