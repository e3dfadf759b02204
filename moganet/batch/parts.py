"""The files of a batch: Parquet, a row an image, one file a block, and what tells whose they are."""

import json
import platform
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

from filelock import FileLock, Timeout

from moganet.errors import ConfigError, OutputError, import_extra
from moganet.files import atomic_path, clear_partials, move_file, read_small, to_json, write_text
from moganet.inference.answer_files import arrow_type, encodable
from moganet.results import LeftOut
from moganet.tasks import Task
from moganet.tasks.records import NamedRow, Row

PLAN, SUCCESS = "_batch.json", "_SUCCESS"
LARGEST_PLAN = 1 << 20  # bytes


class Parts:
    """The folder of a batch's files, of which this job writes its own.

    made_with: model and options, which all files of a folder share. shard: the number of this job, and of all jobs.
    """

    def __init__(self, out: Path, task: Task, made_with: dict[str, Any], shard: tuple[int, int]) -> None:
        self.out, self.made_with, self.shard = out, made_with, shard
        self.arrow = import_extra("pyarrow", "Parquet", "scale")
        self.parquet = import_extra("pyarrow.parquet", "Parquet", "scale")
        self.row_type: type[Row] = get_type_hints(type(task).row)["return"]
        self.schema = self._schema()
        number, of = shard
        self.stem = "part" if of == 1 else f"part-{number:05d}-of-{of:05d}"
        self.next = 0

    def _schema(self) -> Any:
        own = self.row_type.model_fields
        columns = [(name, arrow_type(own[name].annotation)) for name in own if name != "truth"]
        if issubclass(self.row_type, NamedRow):  # the likeliest class stands by itself too, for those who filter
            columns[1:1] = [("class", self.arrow.string()), ("probability", self.arrow.float64())]
        return self.arrow.schema([*columns, ("model", self.arrow.string()), ("error", self.arrow.string())])

    @contextmanager
    def open(self) -> Iterator[set[str]]:
        """Give the names of the images that are done, while nobody else does this job.

        Raises OutputError for a folder of something else, of other options, or at which this job is at work.
        """
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            there = sorted(entry.name for entry in self.out.iterdir())
        except OSError as error:
            raise OutputError(f"can't write into {self.out}: {error.strerror}; choose another folder") from None
        if PLAN not in there and (others := [name for name in there if not name.startswith(".")]):
            raise OutputError(f"{self.out} holds other files ({others[0]}); give a new folder")
        try:
            with FileLock(self.out / f".{self.stem}.lock", timeout=0):
                self._clear()
                self._check_plan()
                try:
                    yield self._done()
                finally:
                    self._clear()
        except Timeout:
            raise OutputError(f"another process works at this in {self.out}; wait for it, or choose another") from None

    def _clear(self) -> None:
        clear_partials(self.out, self.stem)
        clear_partials(self.out, f".{self.stem}")  # of drafts

    def _check_plan(self) -> None:
        path = self.out / PLAN
        if path.exists():
            self._compare_plan()
        else:
            write_text(path, to_json(self._plan(), indent=1))

    def _compare_plan(self) -> None:
        path = self.out / PLAN
        try:
            before = json.loads(read_small(path, LARGEST_PLAN, OutputError))
        except ValueError:
            before = {}
        told = json.loads(to_json(self._plan()))
        if differing := [key for key in told if not isinstance(before, dict) or before.get(key) != told[key]]:
            key = differing[0]
            was = before.get(key) if isinstance(before, dict) else None
            what = f"{self.out} was begun with {key} {str(was)[:60]!r}, and this is {str(told[key])[:60]!r}"
            raise ConfigError(f"{what}; give the same again to go on, or another folder")

    def _plan(self) -> dict[str, Any]:
        return {**self.made_with, "jobs": self.shard[1]}

    def check_seen(self) -> None:
        """Raise OutputError where this process, of another machine perhaps, sees another folder than who opened it."""
        if not (self.out / PLAN).is_file():
            where = f"{platform.node() or 'a machine'} does not see {self.out} as the machine that began this"
            raise OutputError(f"{where}; give --out, and the images, where all machines see them")
        self._compare_plan()

    def _done(self) -> set[str]:
        done = set[str]()
        for path in sorted(self.out.glob(f"{self.stem}-*.parquet")):
            number = path.stem.rpartition("-")[2]
            if number.isdecimal() and path.stem == f"{self.stem}-{number}":
                try:
                    done.update(self.parquet.read_table(path, columns=["file"]).column("file").to_pylist())
                except Exception as error:  # pyarrow raises anything at all
                    what = f"{path} is damaged ({str(error).splitlines()[0][:100]})"
                    raise OutputError(f"{what}; remove it, and its images are done again") from None
                self.next = max(self.next, int(number) + 1)
        return done

    def write(self, rows: Sequence[Row | LeftOut]) -> None:
        """Write a block: its rows, and those of images that can't be read."""
        self._write(self.out / self._next_name(), rows)
        self.next += 1

    def draft(self, rows: Sequence[Row | LeftOut]) -> str:
        """Write a block as a file that is no part yet, and give its name, by which who has the folder open takes it."""
        name = f".{self.stem}-{uuid.uuid4().hex}.partial.parquet"
        self._write(self.out / name, rows)
        return name

    def take(self, draft: str) -> None:
        """Make a draft the next part."""
        move_file(self.out / draft, self.out / self._next_name())
        self.next += 1

    def _next_name(self) -> str:
        return f"{self.stem}-{self.next:06d}.parquet"

    def _write(self, path: Path, rows: Sequence[Row | LeftOut]) -> None:
        table = self.arrow.Table.from_pylist([self._plain(row) for row in rows], self.schema)
        with atomic_path(path) as temporary:
            self.parquet.write_table(table, temporary)

    def _plain(self, row: Row | LeftOut) -> dict[str, Any]:
        if isinstance(row, LeftOut):
            return encodable({"file": row.file, "error": row.reason, "model": self.made_with["model"]})  # type: ignore[no-any-return]
        plain = {**row.plain(), "model": self.made_with["model"]}
        if isinstance(row, NamedRow) and row.classes:
            plain |= {"class": row.classes[0].name, "probability": row.classes[0].probability}
        return encodable(plain)  # type: ignore[no-any-return]

    def end(self) -> bool:
        """Say that this job is done; tell whether all are, and then _SUCCESS stands there."""
        number, of = self.shard
        if of > 1:
            write_text(self.out / f"{SUCCESS}-{number:05d}-of-{of:05d}", "")
            if not all((self.out / f"{SUCCESS}-{i:05d}-of-{of:05d}").exists() for i in range(1, of + 1)):
                return False
        write_text(self.out / SUCCESS, "")
        return True

    def begin(self) -> None:
        """Take away what says that all is done, since some is not."""
        number, of = self.shard
        for name in (SUCCESS, f"{SUCCESS}-{number:05d}-of-{of:05d}"):
            (self.out / name).unlink(missing_ok=True)


def named(name: str) -> str:
    """Give an image's name as a file of answers has it."""
    return str(encodable(name))
