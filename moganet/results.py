"""What verbs give: frozen and typed, read by names as well as by keys, as JSON has them."""

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from moganet.display import MAX_TEXT, as_html, as_text


class Record(BaseModel):
    """A part of a result. `part.name` and `part["name"]` are the same; what was not found out is no key of it."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, protected_namespaces=(), defer_build=True
    )

    def __getitem__(self, key: str) -> Any:
        if key not in self.model_fields_set:
            raise KeyError(key)
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in self.model_fields_set

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]  # of the keys, as a mapping does
        return iter(self._known())

    def __eq__(self, other: object) -> bool:
        return bool(_compared(self) == _compared(other))

    def __hash__(self) -> int:
        return id(self)

    def _known(self) -> dict[str, Any]:
        every = {**self.__dict__, **(self.__pydantic_extra__ or {})}
        return {name: value for name, value in every.items() if name in self.model_fields_set}

    def keys(self) -> KeysView[str]:
        return self._known().keys()

    def items(self) -> ItemsView[str, Any]:
        return self._known().items()

    def get(self, key: str, default: Any = None) -> Any:
        return self._known().get(key, default)

    def changed(self, **values: Any) -> Self:
        """Give the record with other values, validated."""
        return type(self).model_validate({**self._known(), **values})

    def plain(self) -> Mapping[str, Any]:
        """Give what JSON takes."""
        return self.model_dump(exclude_unset=True)


class LeftOut(Record):
    """A file that was left out, and why."""

    file: str
    reason: str


class Member(Record):
    """One of several models that answered as one."""

    model: str
    sha256: str
    runtime: str
    precision: str


@dataclass(frozen=True)
class Metric:
    """A figure that training and evaluation give, by its name ("train/NAME", "val/NAME").

    title: in a chart. short: in a line of text. noun: in a sentence. share: it is a fraction, shown in per cent.
    mode: which of two is better, "max" or "min".
    """

    name: str
    title: str
    noun: str
    short: str = ""
    share: bool = True
    mode: str = "max"

    @property
    def sign(self) -> int:
        """Give what a figure is multiplied by, so that the greater is the better: 1 or -1."""
        return 1 if self.mode == "max" else -1

    def text(self, figure: float) -> str:
        """Write a figure as a person reads it."""
        return f"{100 * figure:.2f} %" if self.share else f"{figure:.4f}"

    def between(self, bounds: tuple[float, float]) -> str:
        """Write an interval of the figure: from one to the other."""
        return " to ".join(map(self.text, bounds))


def _compared(value: Any) -> Any:
    """Give a value with records as dicts, and with one kind of sequence, as JSON has it."""
    if isinstance(value, Record | dict):
        return {name: _compared(inner) for name, inner in value.items()}
    return [_compared(inner) for inner in value] if isinstance(value, list | tuple) else value


class Result(Record):
    """What a verb gives. notes: what was said while it worked.

    A prompt and a notebook show its `lines` and, where it has them, its `table` and `pictures`; else its fields, cut.
    """

    notes: tuple[str, ...] = ()

    def heading(self) -> str:
        """Say what it is of."""
        return type(self).__name__

    def lines(self) -> Iterable[str]:
        """Say the result, a line each."""
        for name, value in self.items():
            text = repr(value) if name != "notes" or value else ""
            if not text:
                continue
            yield f"{name} = {text if len(text) <= MAX_TEXT else f'{text[:MAX_TEXT]}…'}"

    def pictures(self) -> Sequence[Path]:
        """Give the pictures that were drawn of it."""
        return ()

    def __repr__(self) -> str:
        return as_text(self.heading(), self.lines())

    __str__ = __repr__

    def _repr_html_(self) -> str:
        table = getattr(self, "table", None)
        shown = table() if callable(table) else None
        return as_html(self.heading(), self.lines(), shown, self.pictures())

    def _known(self) -> dict[str, Any]:
        known = super()._known()
        return {name: known[name] for name in sorted(known, key=lambda name: name == "notes")}  # at the end
