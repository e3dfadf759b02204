"""What all pictures have in common: names are drawn as they are, no formulas, and in a font that has their script."""

import warnings
from collections.abc import Callable
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
    """Give a name as it can be drawn, cut to a length."""
    text = printable(name)
    return text if len(text) <= length else text[: length - 1] + "…"


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
