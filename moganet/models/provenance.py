"""What a model file says of where it comes from: the names of folders and files, never the places of one's machine.

A model file, a report and a card are for others. Where the data lies on this machine stands in the run's recipe.yaml.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from moganet.config import RECIPE_LIMIT, parse_yaml
from moganet.data.contents import known_again
from moganet.errors import DataError, MogaNetError
from moganet.files import read_small

RECIPE = "recipe.yaml"
PLACES = ("source", "data", "model", "teacher", "file")  # keys whose paths are places even where they begin here
SPEC = re.compile(r"(?s)([a-z][a-z0-9_-]+:)?(.*?)(\?.*)?")
WHOLE = re.compile(r"[/~]|\\\\|[A-Za-z]:[\\/]")  # how a path begins that is not said from here
QUERY_VALUE = re.compile(r"(?s)(?<==)([^&]*[/\\])([^&/\\]+)")


def without_place(text: str) -> str:
    """Give SOURCE:PATH?QUERY, or a path, with the last name of the path only."""
    found = SPEC.fullmatch(text)
    assert found is not None  # it takes any text
    source, place, query = (part or "" for part in found.groups())
    if text.startswith("hf-hub:"):
        return text
    if source == "timm:":
        network, at, place = place.partition("@")
        source += network + at
    kind = PureWindowsPath if "\\" in place else PurePosixPath
    name = kind(place).name or ("" if set(place) <= set("/\\.~") else place)
    return source + name + QUERY_VALUE.sub(r"\2", query)


def without_places(value: Any, key: str = "") -> Any:
    """Give provenance in which every place is a name only, however deep it lies."""
    if isinstance(value, dict):
        return {name: without_places(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(inner, key) for inner in value]
    if isinstance(value, str) and (key in PLACES or WHOLE.match(value)):
        return without_place(value)
    return value


def source_on_this_machine(source: str, model: str) -> str:
    """Give the data that a model was trained on with its place: from the recipe of the run's folder that it lies in.

    source: as the model file says. Raises DataError where this machine does not know the place.
    """
    path = Path(model)
    recipe = (path if path.is_dir() else path.parent) / RECIPE
    if recipe.is_file():
        try:
            kept = parse_yaml(read_small(recipe, RECIPE_LIMIT), RECIPE)["data"]["source"]
            if without_place(kept) == without_place(source):
                return str(kept)
        except (MogaNetError, KeyError, TypeError):  # no recipe of a run
            pass
    place = source.partition(":")[2].partition("?")[0]
    if place and not Path(place).exists():
        raise DataError(f"this model was trained on {source}, and its file does not say where that lies; give --data")
    return source


def num_trained_on(provenance: Mapping[str, Any], contents: Callable[[], Sequence[bytes]]) -> tuple[int, int]:
    """Count the images that a model was trained on, and those of which its file can tell; none where it says nothing.

    contents: gives the images' contents, which takes long, where they are needed.
    """
    sketched = str(provenance.get("images", ""))
    return known_again(sketched, contents()) if sketched else (0, 0)
