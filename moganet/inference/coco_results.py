"""COCO's list of results: a file that is written as answers come, and the ids of the images that it names."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from moganet.errors import MogaNetError
from moganet.files import atomic_path, read_small
from moganet.notices import say
from moganet.tasks.records import CocoResult

if TYPE_CHECKING:
    from moganet.data.targets import Targets

LIMIT = 1 << 30  # bytes of a JSON file; COCO's largest has half of it
WriteResults = Callable[[Sequence[CocoResult]], object]


@contextmanager
def open_results(path: Path) -> Iterator[WriteResults]:
    """Give what writes an image's results into a file, which appears when all are written."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        number = 0

        def write(results: Sequence[CocoResult]) -> None:
            nonlocal number
            for one in results:
                file.write(("[\n" if number == 0 else ",\n") + json.dumps(one))
                number += 1

        yield write
        file.write("\n]\n" if number else "[]\n")


def image_ids(names: Sequence[str], targets: "Targets | None" = None) -> list[int]:
    """Give images' ids: a data set's own, those of a JSON file beside the folder, the names' numbers, or 1 and on."""
    if targets is not None and (own := targets.image_ids) is not None:
        return own
    if (found := _beside(names)) is not None:
        return found
    stems = [PurePath(name).stem for name in names]
    if all(stem.isascii() and stem.isdigit() for stem in stems) and len({int(stem) for stem in stems}) == len(stems):
        return [int(stem) for stem in stems]
    say("the images' names are no numbers, and no annotations lie beside them: their ids count from 1, in this order")
    return list(range(1, len(names) + 1))


def _beside(names: Sequence[str]) -> list[int] | None:
    """Look for a JSON file of COCO's form beside the images' one folder, that names all of them."""
    folders = {Path(name).parent for name in names}
    if len(folders) != 1:
        return None
    (folder,) = folders
    near = (folder.resolve().parent / "annotations").glob(f"*{folder.resolve().name}*.json")
    for path in (*sorted(near), folder / "_annotations.coco.json"):
        known = _ids_in(path) if path.is_file() else {}
        found = [known.get(PurePath(name).name) for name in names]
        if known and all(one is not None for one in found):
            say(f"the images' ids are those of {path}")
            return [one for one in found if one is not None]
    return None


def _ids_in(path: Path) -> Mapping[str, int]:
    """Give the id of each image that a file of COCO's form names; none of another file."""
    try:
        images = json.loads(read_small(path, LIMIT))["images"]
        return {PurePath(one["file_name"]).name: int(one["id"]) for one in images}
    except (MogaNetError, ValueError, TypeError, KeyError, RecursionError):
        return {}
