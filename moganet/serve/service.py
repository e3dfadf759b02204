"""What the service does, whatever door a request came through: predicts, explains, and says what it has."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Annotated, Any

from pydantic import ConfigDict, Field, SerializeAsAny

from moganet.config import Settings
from moganet.errors import DataError
from moganet.inference.runs import Array, Outputs
from moganet.processors import num_helpers
from moganet.results import LeftOut, Record
from moganet.serve.figures import Figures
from moganet.serve.hosted import Hosted, Serving
from moganet.serve.lane import in_thread
from moganet.serve.limits import Limits
from moganet.serve.pictures import Sent, read_sent
from moganet.serve.problems import ProblemError
from moganet.serve.shelf import Shelf
from moganet.tasks.records import Row
from moganet.tasks.task import Asked, Masks

VERSION = version("moganet")


class Question(Settings):
    """How answers are wanted."""

    model_config = ConfigDict(defer_build=False)  # which FastAPI would warn of

    model: Annotated[str | None, Field(description="A name that /v1/models lists [the first].")] = None
    top_k: Annotated[int | None, Field(ge=1, le=100_000, description="Classes to name [what the task names].")] = None
    calibrated: Annotated[bool, Field(description="Scale probabilities by the temperature that the model keeps.")] = (
        False
    )
    masks: Annotated[
        Masks, Field(description="Of answers about pixels: a PNG of classes' numbers, COCO's runs, or none.")
    ] = "png"


class Unread(LeftOut):
    """An image that could not be read. number: among those that were sent, from 1."""

    number: int


class Answers(Record):
    """What a model answers: a row for each readable image, in their order, as `moganet predict --json` has them.

    sha256: of the model's tensors. version: of moganet. notes: what was taken for what.
    """

    model: str
    sha256: str
    version: str
    predictions: tuple[SerializeAsAny[Row], ...]
    unreadable: tuple[Unread, ...] = ()
    notes: tuple[str, ...] = ()


class Service:
    """Models that answer. limits: what one request may ask."""

    def __init__(self, shelf: Shelf, limits: Limits, figures: Figures) -> None:
        self.shelf, self.limits, self.figures = shelf, limits, figures
        self.readers = ThreadPoolExecutor(num_helpers(), thread_name_prefix="reader")
        self.explainer = ThreadPoolExecutor(1, thread_name_prefix="explainer")  # which sets torch's seed and modes
        self.ready = True

    def check_ready(self) -> None:
        """Raise ProblemError where nothing new is taken any more."""
        check_ready(self.ready)

    def seconds(self) -> float:
        """Give how long an image takes the slowest model, in the mean of the last."""
        return max(hosted.lane.seconds for hosted in self.shelf.all())

    def serving(self) -> tuple[Serving, ...]:
        """Say what is served, the default first."""
        return tuple(hosted.serving for hosted in self.shelf.all())

    async def predict(self, hosted: Hosted, images: Sequence[Sent], question: Question) -> Answers:
        """Answer for images, and go on past those that can't be read. Raises ProblemError where none can be."""
        if question.calibrated:
            hosted.predictor.check_calibrated()
        found = await asyncio.gather(*(self._one(hosted, sent, question) for sent in images))
        unread = tuple(
            Unread(file=sent.name, reason=one, number=number)
            for number, (sent, one) in enumerate(zip(images, found, strict=True), 1)
            if isinstance(one, str)
        )
        answered = [one for one in found if not isinstance(one, str)]
        rows = tuple(row for row, _ in answered)
        self._count(hosted.name, rows, len(unread))
        if unread and not rows:
            raise ProblemError(422, _none_read(unread), unreadable=[one.plain() for one in unread])
        notes = tuple(dict.fromkeys(note for _, said in answered for note in said))
        return Answers(
            model=hosted.name,
            sha256=hosted.sha256,
            version=VERSION,
            predictions=rows,
            **({"unreadable": unread} if unread else {}),
            **({"notes": notes} if notes else {}),
        )

    async def _one(self, hosted: Hosted, sent: Sent, question: Question) -> tuple[Row, tuple[str, ...]] | str:
        """Give an image's row and what was taken for what, or why it can't be read."""
        try:
            ready, notes = await in_thread(self.readers, self._ready, hosted, sent)
        except DataError as error:
            return str(error)
        outputs = await hosted.lane.ask(ready)
        return await in_thread(self.readers, row_of, hosted, outputs, sent.name, question), notes

    def _ready(self, hosted: Hosted, sent: Sent) -> tuple[Array, tuple[str, ...]]:
        picture = read_sent(sent, hosted.predictor.config.preprocessing, self.limits.pixels)
        return hosted.prepared(picture.pixels), picture.notes

    async def outputs(self, hosted: Hosted, sent: Sent) -> Outputs:
        """Give what a model gives for an image, a row. Raises DataError."""
        ready, _ = await in_thread(self.readers, self._ready, hosted, sent)
        return await hosted.lane.ask(ready)

    def _count(self, name: str, rows: Sequence[Row], unread: int) -> None:
        self.figures.unreadable.labels(name).inc(unread)
        self.figures.rejected.labels(name).inc(sum(bool(row.rejected) for row in rows))

    def reload(self) -> dict[str, str]:
        """Take changed models anew; give what came of each."""
        outcome = self.shelf.reload()
        for one in outcome.values():
            self.figures.reloads.labels(one).inc()
        return outcome

    def close(self) -> None:
        """End the threads, once what they do is done."""
        for pool in (self.readers, self.explainer):
            pool.shutdown(wait=False, cancel_futures=True)


def check_ready(ready: bool) -> None:
    """Raise ProblemError for a service that is not ready any more."""
    if not ready:
        raise ProblemError(503, "the service is stopping", {"Retry-After": "5"})


def row_of(hosted: Hosted, outputs: Outputs, name: str, question: Question) -> Row:
    """Give the answer of an image's outputs, as `moganet predict` has it."""
    row, answer = answered(hosted, outputs, name, question)
    return hosted.predictor.task.sent(row, answer, question.masks)


def answered(hosted: Hosted, outputs: Outputs, name: str, question: Question) -> tuple[Row, Any]:
    """Give an image's row, without pixels that it may have, and the answer itself."""
    predictor = hosted.predictor
    (answer,) = predictor.answers(outputs, Asked(question.top_k, question.calibrated))
    return predictor.task.row(name, answer, None, trained=predictor.trained), answer


def _none_read(unread: Sequence[Unread]) -> str:
    first = unread[0]
    if len(unread) == 1:
        return first.reason if first.file in first.reason else f"{first.file} can't be read: {first.reason}"
    return f"none of the {len(unread)} images can be read; the first: {first.reason}"
