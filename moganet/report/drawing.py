"""What all pictures have in common: names are drawn as they are, no formulas, and in a font that has their script."""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import ParamSpec

from matplotlib import rc_context
from matplotlib.figure import Figure

from moganet.files import atomic_path
from moganet.notices import printable, say

# Beside matplotlib's own, which has Latin, Greek, Cyrillic and Arabic; those that systems come with.
FAMILIES = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Zen Hei"),
    *("WenQuanYi Micro Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans GB", "Heiti TC", "Microsoft YaHei"),
    *("SimHei", "Malgun Gothic", "Apple SD Gothic Neo", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans Hebrew"),
    *("Nirmala UI", "Leelawadee UI", "Noto Emoji", "Segoe UI Symbol", "Arial Unicode MS", "Unifont"),
)
Arguments = ParamSpec("Arguments")


def names_as_they_are(draw: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Let a function draw texts in which "$" is a dollar, in the fonts that are here."""

    @wraps(draw)
    def drawn(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        fonts = ["DejaVu Sans", *_installed()]
        with rc_context({"text.parse_math": False, "text.usetex": False, "font.family": fonts}):
            draw(*args, **kwargs)

    return drawn


def caption(name: str, length: int) -> str:
    """Give a name as it can be drawn, cut in its middle to a length: names of a kind differ at their ends."""
    text = printable(name)
    return text if len(text) <= length else both_ends(text, length - 1)


def both_ends(text: str, number: int) -> str:
    """Give so many of a text's characters, half from its beginning and half from its end."""
    return f"{text[: (number + 1) // 2]}…{text[len(text) - number // 2 :]}"


def captions(names: Sequence[str], length: int) -> list[str]:
    """Give names as they can be drawn side by side, cut to a length; those that differ are told apart where they do."""
    short = {name: caption(name, length) for name in names}
    _tell_apart(short, length)
    return [short[name] for name in names]


def _tell_apart(short: dict[str, str], length: int) -> None:
    """Cut those names anew that look alike now, around the place where the first of them differ."""
    for look, number in Counter(short.values()).items():
        if number == 1:
            continue
        alike = [name for name, cut in short.items() if cut == look]
        texts = {name: printable(name) for name in alike}
        differ = (place for place, each in enumerate(zip(*texts.values(), strict=False)) if len(set(each)) > 1)
        end, place = max(1, (length - 2) // 4), next(differ, min(map(len, texts.values())))
        middle = length - 2 - 2 * end
        again = {name: f"{t[:end]}…{t[place : place + middle]}…{t[-end:]}" for name, t in texts.items()}
        if len(set(again.values())) > 1:
            _tell_apart(again, length)
        short.update(again)


def save_figure(figure: Figure, path: Path, dpi: int = 130) -> None:
    """Write a picture whole or not at all, and say once where no font here has a character."""
    with warnings.catch_warnings(record=True) as caught, atomic_path(path) as temporary:
        warnings.simplefilter("always")
        figure.savefig(temporary, dpi=dpi)
    missing = [one for one in caught if "missing from" in str(one.message) or "matching" in str(one.message).lower()]
    for other in caught:
        if other not in missing:
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    if missing:
        say(f"no font here has all characters of the names in {path}, where they are boxes; install one, say Noto Sans")


@cache
def _installed() -> tuple[str, ...]:
    from matplotlib.font_manager import fontManager

    known = {font.name for font in fontManager.ttflist}
    return tuple(family for family in FAMILIES if family in known)


@cache
def installed_fonts() -> tuple[str, ...]:
    """Give the files of fonts for names: matplotlib's own, then those of other scripts that are here."""
    from matplotlib.font_manager import FontProperties, findfont

    return tuple(dict.fromkeys(findfont(FontProperties(family=name)) for name in ("DejaVu Sans", *_installed())))
