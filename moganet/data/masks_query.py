"""What may be asked of a set of masks, after the question mark: `masks:DIR?ignore=255,11&missing=skip`."""

from collections.abc import Iterable
from dataclasses import dataclass

from moganet.data.query import read_words
from moganet.errors import DataError

FAULTS = {  # what a mask may suffer from, and what to do about it
    "missing": "leave such images out: masks:DIR?missing=skip",
    "size": "mend it, leave such masks out (?size=skip), or bring them to their image's size (?size=resize)",
    "turned": "turn the mask as its image is shown, or leave such masks out: ?turned=skip",
    "unknown": "name the classes (?names=FILE), say what is of no class (?ignore=VALUE,…), take all that is unknown "
    "for such (?unknown=ignore), or leave such masks out (?unknown=skip)",
    "unreadable": "mend it, or leave such masks out: ?unreadable=skip",
    "lossy": "save it as PNG from its source, or leave such masks out: ?lossy=skip",
    "colours": "give a list of classes with their colours (?names=FILE), or leave such masks out: ?colours=skip",
}
CHOICES = {
    **dict.fromkeys(FAULTS, ("refuse", "skip")),
    "size": ("refuse", "skip", "resize"),
    "unknown": ("refuse", "skip", "ignore"),
    "reduce_zero": ("true", "false"),
}
TEXTS = ("images", "masks", "names", "ignore", "values", "json")


@dataclass(frozen=True)
class Asked:
    """What was asked. names: a file of classes. ignore: values of no class. values: those of the classes, in order.

    reduce_zero: 0 is of no class, and class i has the value i + 1; None where that was not said.
    """

    images: str = ""
    masks: str = ""
    json: str = ""
    names: str = ""
    ignore: tuple[int, ...] | None = None
    values: tuple[int, ...] | None = None
    reduce_zero: bool | None = None
    size: str = "refuse"
    unknown: str = "refuse"
    skipped: frozenset[str] = frozenset()

    def skips(self, fault: str) -> bool:
        """Tell whether masks with such a fault are to be left out."""
        return fault in self.skipped


def read_query(query: str) -> Asked:
    """Read `ignore=11&missing=skip`. Raises DataError for what is unknown or said twice."""
    given = read_words(query, "a set of masks", TEXTS, CHOICES, _all_of)
    return Asked(
        **{key: given[key] for key in ("images", "masks", "names", "json", "size", "unknown") if key in given},
        ignore=_numbers(given, "ignore"),
        values=_numbers(given, "values"),
        reduce_zero=given["reduce_zero"] == "true" if "reduce_zero" in given else None,
        skipped=frozenset(key for key, value in given.items() if value == "skip"),
    )


def _all_of(given: object, known: Iterable[object]) -> str:
    return f"known: {', '.join(map(str, known))}"


def _numbers(given: dict[str, str], key: str) -> tuple[int, ...] | None:
    if key not in given:
        return None
    if given[key] in ("", "none"):
        return ()
    try:
        found = tuple(int(part) for part in given[key].split(","))
    except ValueError:
        raise DataError(f"{key}={given[key]}: give values of masks, as {key}=0,255") from None
    if beyond := [value for value in found if not -(1 << 31) <= value < 1 << 31]:
        raise DataError(f"{key}={given[key]}: no mask holds {beyond[0]}; give values of masks, as {key}=0,255")
    return found
