"""A recipe, of the kind that its task has."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moganet.config import Recipe, read_recipe, validate
from moganet.errors import ConfigError, DataError, choose_of
from moganet.network.variants import shape_of
from moganet.tasks import TASKS, Task

if TYPE_CHECKING:
    from moganet.data import Dataset

DEFAULT = "classify"  # what recipes of before tasks had names are of


def load_recipe(recipe: str | Path, overrides: Mapping[str, Any] | Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or from a YAML file, and apply overrides.

    overrides: dotted keys to values, or "key=value" texts whose values are YAML. A section that has a name takes
    `section=NAME` for it. Raises ConfigError that names an unknown key and the nearest known one.
    """
    values = read_recipe(recipe, overrides)
    given = values.get("task", DEFAULT)
    name = given.get("name", DEFAULT) if isinstance(given, dict) else getattr(given, "name", given)
    if not isinstance(name, str) or name not in TASKS:
        raise ConfigError(f"recipe {recipe}: there is no task {str(name)[:60]!r}; {choose_of(name, TASKS)}")
    task = {"name": given} if isinstance(given, str) else given
    read = validate(TASKS[name].recipe, {**values, "task": task}, f"recipe {recipe}")
    if not read.network.name.startswith("timm:"):
        try:
            shape_of(read.network.name)
        except ValueError as error:
            raise ConfigError(f"network.name: {error}") from None
    return read


def task_for(dataset: "Dataset") -> Task:
    """Give the task that a data set's targets are of. Raises DataError, the first task's, where it is none's."""
    refused: list[DataError] = []
    for task in TASKS.values():
        try:
            task.check(dataset, training=True)
            return task
        except DataError as error:
            refused.append(error)
    several = next(iter(dataset.distinct().values())).targets.strata().ndim == 2
    raise refused[1 if several else 0]


def task_of(recipe: Recipe) -> Task:
    """Give the task of a recipe."""
    return TASKS[recipe.task.name]
