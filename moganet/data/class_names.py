"""Names of classes as people write them: one form for each, and which of them only look alike."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from moganet.data.findings import Finding

_COPY = re.compile(r"^copy of |( -)? copy( ?\(?\d+\)?)?$| \(\d+\)$")  # as file managers call a second of a name


def normal(name: str) -> str:
    """Give a name in Unicode's composed form, in which a Mac's and a PC's "é" are the same."""
    return unicodedata.normalize("NFC", name)


def likeness(name: str) -> str:
    """Give what is left of a name without case, accents' form, spaces, signs between words and what can't be seen.

    A file manager's copy ("oak (1)", "oak - Copy") is like the first. Of numbers the zeros before them go; what makes
    another number of them (-1, 1-2, 1.5) stays.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    folded = _COPY.sub("", folded) or folded
    seen = "".join(letter for letter in folded if unicodedata.category(letter)[0] not in "ZC")
    bare = re.sub(r"[_.-](?!\d)|(?<=[^\W\d_])[_.-]", "", seen)
    return re.sub(r"(?<![\d.])0+(?=\d)", "", bare) or folded


def find_lookalikes(names: Sequence[str], place: str) -> list[Finding]:
    """Find the classes whose names differ in case, spaces or form only."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(likeness(name), []).append(name)
    alike = [" and ".join(map(ascii, group)) for group in groups.values() if len(group) > 1]
    text = "classes whose names look alike: {}; if they are one, join them"
    return [Finding("classes", place, text.format(group)) for group in alike]


def shown(names: Iterable[str], number: int = 5) -> str:
    """List some names in one line, the first few of many."""
    names = list(names)
    more = f" and {len(names) - number} more" if len(names) > number else ""
    return ", ".join(name if len(name) <= 60 else f"{name[:57]}..." for name in names[:number]) + more
