"""`settings`: every setting of a recipe, with its value, default, unit and meaning."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from moganet.config import OPTIONS, Settings, list_recipes
from moganet.errors import ConfigError, did_you_mean
from moganet.notices import noted
from moganet.results import Record, Result
from moganet.tasks import TASKS
from moganet.tasks.recipes import load_recipe

OWN_OPTIONS = {**OPTIONS, "data.source": "--data", "start.model": "--from"}
HEADS = ("setting", "value", "default", "unit", "meaning")


class Setting(Record):
    """A setting. value: in the recipe, else the default. task: the one that it is of, where not of all.

    choices: the words that it takes, where it takes nothing else (but null). option: a word for it of its own.
    required: it has no default.
    """

    name: str
    value: Any
    default: Any
    unit: str
    meaning: str
    choices: tuple[str, ...] = ()
    option: str | None = None
    task: str | None = None
    required: bool = False

    def cells(self) -> tuple[str, ...]:
        """Give what a table shows under HEADS."""
        of = f" [{self.task}]" if self.task else ""
        how = " ".join(filter(None, (self.meaning, self._choices(), f"Or {self.option}." if self.option else "")))
        return (
            f"{self.name}{of}",
            written(self.value),
            "needed" if self.required else written(self.default),
            self.unit,
            how,
        )

    def _choices(self) -> str:
        return f"One of {', '.join(self.choices)}." if self.choices[1:] else ""


class SettingsFound(Result):
    """The settings that were asked for. recipe: whose values they have; None: the defaults."""

    recipe: str | None
    word: str | None
    settings: tuple[Setting, ...]

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Give heads and rows of a table; without a recipe no value differs from its default."""
        rows = [one.cells() for one in self.settings]
        kept = [number for number, head in enumerate(HEADS) if self.recipe is not None or head != "value"]
        return tuple(HEADS[number] for number in kept), [tuple(row[number] for number in kept) for row in rows]


@noted
def settings(recipe: str | Path | None = None, word: str | None = None) -> SettingsFound:
    """List settings: all, or those in whose name or meaning a word stands, with a recipe's values or the defaults.

    A recipe that is none is taken for the word, where that is missing. Without a recipe those of every task are listed.
    Raises ConfigError for a word that stands in none, and proposes the nearest.
    """
    if recipe is not None and word is None and not _is_recipe(recipe):
        recipe, word = None, str(recipe)
    known = list(_of_all() if recipe is None else _of_recipe(recipe))
    found = known if word is None else _matching(known, word)
    if not found:
        names = [part for one in known for part in (one.name, one.name.rpartition(".")[2])]
        like = did_you_mean(word, [*names, *list_recipes()])
        raise ConfigError(f"there is no recipe, and no setting with {word!r} in it; {like}`moganet settings` lists all")
    return SettingsFound(recipe=None if recipe is None else str(recipe), word=word, settings=tuple(found))


def _is_recipe(text: str | Path) -> bool:
    return str(text) in list_recipes() or Path(text).suffix in (".yaml", ".yml")


def _matching(known: Sequence[Setting], word: str) -> list[Setting]:
    """Give the settings whose name holds the word; else those whose meaning or option does."""
    text = word.lower().lstrip("-").replace("-", "_")
    named = [one for one in known if text in one.name or text in (one.option or "").replace("-", "_")]
    return named or [one for one in known if text.replace("_", " ") in one.meaning.lower()]


def _of_recipe(recipe: str | Path) -> Iterator[Setting]:
    loaded = load_recipe(recipe)
    yield from _settings(type(loaded), loaded)


def _of_all() -> Iterator[Setting]:
    """List what all tasks share once, and then what each has of its own."""
    tables = {name: list(_settings(task.recipe, None)) for name, task in TASKS.items()}
    for name, table in tables.items():
        others = [one for other in tables for one in tables[other] if other != name]
        for one in table:
            if one not in others:
                yield one.changed(task=name)
            elif name == next(iter(tables)):
                yield one


def _settings(kind: type[Settings], values: Settings | None, prefix: str = "") -> Iterator[Setting]:
    for name, field in kind.model_fields.items():
        value = None if values is None else getattr(values, name)
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Settings):
            yield from _settings(section, value, f"{prefix}{name}.")
        else:
            yield _setting(f"{prefix}{name}", field, value, has_value=values is not None)


def _setting(name: str, field: FieldInfo, value: Any, *, has_value: bool) -> Setting:
    default = None if field.is_required() else field.default
    extra = field.json_schema_extra
    return Setting(
        name=name,
        value=value if has_value else default,
        default=default,
        unit=str(extra["unit"]) if isinstance(extra, dict) else "",
        meaning=field.description or "",
        choices=tuple(dict.fromkeys(_words(field.annotation))),
        option=OWN_OPTIONS.get(name),
        required=field.is_required(),
    )


def _words(kind: Any) -> list[str]:
    """Give the words that a type takes, where it takes nothing else but None."""
    if get_origin(kind) is Literal:
        return [str(word) for word in get_args(kind)]
    parts = [part for part in get_args(kind) if part is not type(None)]
    if get_origin(kind) not in (Union, UnionType) or not all(map(_words, parts)):
        return []
    return [word for part in parts for word in _words(part)]


def written(value: Any) -> str:
    """Write a value as `--set` takes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def as_markdown(found: SettingsFound) -> str:
    """Give the settings as tables of Markdown, one a section."""
    heads, rows = found.table()
    sections: dict[str, list[str]] = {}
    for one, row in zip(found.settings, rows, strict=True):
        cells = " | ".join(cell.replace("|", "\\|") for cell in row)
        sections.setdefault(one.name.rpartition(".")[0] or "the recipe itself", []).append(f"| {cells} |")
    head = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    return "\n".join("\n".join((f"## {name}", "", *head, *lines, "")) for name, lines in sections.items())
