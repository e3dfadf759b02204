"""Where answers go as they come: files of rows, a grid, pictures with their answers, folders of classes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from moganet import report
from moganet.data.channels import match_channels
from moganet.data.contents import EmbeddedImage
from moganet.data.within import COPIES, Within
from moganet.errors import ConfigError
from moganet.files import check_place
from moganet.inference.answer_files import Write, check_answer_file, open_answers
from moganet.inference.coco_results import WriteResults, open_results
from moganet.inference.predictor import Predictor
from moganet.inference.saved_pictures import SavedPictures, saved_pictures
from moganet.inference.sorted_images import SortedImages, new_folder
from moganet.tasks.records import Row
from moganet.tasks.task import Task

MAX_GRID = 48


@dataclass(frozen=True)
class Destinations:
    """What is written of answers. links: `sort_into` makes symbolic links in place of copies."""

    csv_file: Path | None = None
    out: Path | None = None
    grid: Path | None = None
    save_images: Path | None = None
    sort_into: Path | None = None
    links: bool = False
    coco: Path | None = None

    def check(self) -> None:
        """Raise OutputError, before any work, for names and places that nothing can be written to."""
        if self.grid is not None:
            report.check_picture_name(self.grid)
        if self.csv_file is not None:
            check_place(self.csv_file, "--csv")
        if self.out is not None:
            check_answer_file(self.out)
        if self.coco is not None:
            check_place(self.coco, "--coco")
        for folder, option in ((self.save_images, "--save-images"), (self.sort_into, "--sort-into")):
            if folder is not None:
                new_folder(folder, option)
        if self.links and self.sort_into is None:
            raise ConfigError("links are for sort_into (--sort-into DIR --links), which is not asked for")
        if self.save_images is not None and self.save_images == self.sort_into:
            raise ConfigError(f"{self.sort_into} can't hold both pictures and sorted images; give two folders")


@dataclass(frozen=True)
class Answered:
    """An image, its answer and its row. source: its file, if it has one; read: gives its pixels uint8 (3, H, W).

    image: its id, where answers go into COCO's list of results.
    """

    row: Row
    answer: Any
    right: bool | None
    source: Any
    read: Callable[[], Any]
    image: int | None = None

    @cached_property
    def pixels(self) -> Any:
        return self.read()

    def with_row(self, row: Row) -> "Answered":
        """Give the same with another row; its pixels are read once."""
        return replace(self, row=row, read=lambda: self.pixels)


@dataclass
class Writing:
    """Takes answers, one by one. written: what was made of them, for the verb's result."""

    predictor: Predictor
    to: Destinations
    files: Sequence[Write]
    saved: SavedPictures | None
    sorted: SortedImages | None
    pictures: "list[report.GridItem]"
    coco: WriteResults | None = None

    def take(self, one: Answered) -> None:
        """Write one wherever answers go."""
        for write in self.files:
            write(one.row)
        task = self.predictor.task
        if self.coco is not None and one.image is not None:
            self.coco(task.results(one.answer, one.image, self.predictor.config.task))
        if self.to.grid is not None and len(self.pictures) < MAX_GRID:
            seen = match_channels(one.pixels, self.predictor.config.preprocessing.channels)
            self.pictures.append(replace(task.picture(seen, one.answer, one.row.truth), name=one.row.file))
        if self.saved is not None:
            drawn = task.drawn(one.pixels, one.answer)
            self.saved.add(one.row, one.source, one.pixels if drawn is None else drawn, right=one.right)
        if self.sorted is not None:
            self.sorted.add(one.row.file, task.names_found(one.answer), one.row.rejected, _to_copy(one))

    @property
    def written(self) -> dict[str, Any]:
        return {
            **({"grid": str(self.to.grid)} if self.pictures else {}),
            **({"out": str(self.to.out)} if self.to.out is not None else {}),
            **({"coco": str(self.to.coco)} if self.to.coco is not None else {}),
            **({"saved": self.saved.number} if self.saved is not None else {}),
            **({"sorted": self.sorted.number} if self.sorted is not None else {}),
        }


def _to_copy(one: Answered) -> Any:
    """Give a file to be copied as it is; of a frame, and of what is in memory, the pixels."""
    if isinstance(one.source, Within) and one.source.time is None:
        return one.source.in_lane(COPIES)
    return one.source if isinstance(one.source, Path | EmbeddedImage) else one.pixels


@contextmanager
def writing(predictor: Predictor, to: Destinations, more: Sequence[str]) -> Iterator[Writing]:
    """Give what takes answers; files appear, and the grid is drawn, when the block succeeds.

    more: of a row's fields that have a column in a CSV file.
    """
    if to.sort_into is not None and type(predictor.task).names_found is Task.names_found:
        raise ConfigError(
            f"the answers of {predictor.task.name} are no classes of images, into which they could be sorted"
        )
    if to.coco is not None and type(predictor.task).results is Task.results:
        predictor.task.results(None, 0, predictor.config.task)  # which says why there are none
    with ExitStack() as stack:
        places = [place for place in (to.csv_file, to.out) if place is not None]
        files = [stack.enter_context(open_answers(place, predictor.task.columns, more)) for place in places]
        saved = None if to.save_images is None else stack.enter_context(saved_pictures(to.save_images))
        folders = None
        if to.sort_into is not None:
            folders = SortedImages(to.sort_into, predictor.class_names, links=to.links)
        results = None if to.coco is None else stack.enter_context(open_results(to.coco))
        ways = Writing(predictor, to, files, saved, folders, [], results)
        yield ways
        if to.grid is not None and ways.pictures:
            report.draw_grid(ways.pictures, to.grid)
