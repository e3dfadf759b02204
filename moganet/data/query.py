"""What is asked of a source after the question mark, read into its words: `coco:DIR?outside=clip&missing=skip`."""

from collections.abc import Callable, Collection, Iterable, Mapping
from urllib.parse import unquote_plus

from moganet.errors import DataError, choose_of


def read_words(
    query: str,
    whose: str,
    texts: Collection[str],
    choices: Mapping[str, Collection[str]],
    remedy: Callable[[object, Iterable[object]], str] = choose_of,
) -> dict[str, str]:
    """Read `outside=clip&json=FILE`. texts: words that take any value; choices: those that take one of some.

    whose: what is asked, for a person. Raises DataError for what is unknown (with the remedy) or said twice.
    """
    known = (*texts, *choices)
    given: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, _, value = part.partition("=")
        if key not in known:
            raise DataError(f"{key!r} is nothing that {whose} knows; {remedy(key, known)}")
        if key in given:
            raise DataError(f"{query!r} says {key} twice; say it once")
        value = unquote_plus(value)
        if key in choices and value not in choices[key]:
            raise DataError(f"{key}={value}: choose one of {', '.join(choices[key])}")
        given[key] = value
    return given
