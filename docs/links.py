"""Links on the repository's pages: which lead nowhere, and, as a script, those that lead out of it (only listed)."""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
MADE = ROOT / "docs" / "reference" / "generated"  # by the build
CODE = re.compile(r"^(`{3,})(?!\{include).*?^\1[ ]*$|(?<!`)`[^`\n]+`(?!`)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)
INCLUDED = re.compile(r"^`{3,}\{include\} (\S+)", re.MULTILINE)


def pages() -> list[Path]:
    """Give the pages that people wrote, of the site and beside the code."""
    beside = [*ROOT.glob("*.md"), ROOT / "benchmarks" / "README.md", *(ROOT / "moganet").rglob("*.md")]
    found = (path for path in [*beside, *(ROOT / "docs").rglob("*.md")] if MADE not in path.parents)
    return sorted(path for path in found if path.is_file())


def links(page: Path) -> Iterator[str]:
    """Give where a page's links and pictures lead; what stands in code is none."""
    yield from LINK.findall(CODE.sub("", page.read_text(encoding="utf-8")).replace("[![", "["))


def anchors(page: Path) -> set[str]:
    """Give a page's headings as links name them, those of what it includes too."""
    text = page.read_text(encoding="utf-8")
    found: Counter[str] = Counter()
    names = set()
    for heading in HEADING.findall(re.sub(r"^(`{3,}).*?^\1[ ]*$", "", text, flags=re.MULTILINE | re.DOTALL)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    for place in INCLUDED.findall(text):
        if (other := (page.parent / place).resolve()).exists():
            names |= anchors(other)
    return names


def broken() -> list[str]:
    """Name each link that leads to no file of the repository, or to no heading of one."""
    return [f"{page.relative_to(ROOT)}: {to}" for page in pages() for to in links(page) if _is_broken(page, to)]


def _is_broken(page: Path, to: str) -> bool:
    if re.match(r"[a-z]+:", to):
        return False
    place, _, anchor = to.partition("#")
    other = (page.parent / place).resolve() if place else page
    if MADE in other.parents:
        return False  # the build finds these
    if not other.exists():
        return True
    return bool(anchor) and other.suffix == ".md" and anchor not in anchors(other)


def outside() -> dict[str, list[str]]:
    """Give the addresses that pages link to, each with its pages."""
    found: dict[str, list[str]] = {}
    for page in pages():
        for to in links(page):
            if re.match(r"https?:", to):
                found.setdefault(to, []).append(str(page.relative_to(ROOT)))
    return found


if __name__ == "__main__":
    for address, names in sorted(outside().items()):
        print(address, *dict.fromkeys(names))
    sys.exit("\n".join(["these lead nowhere:", *wrong]) if (wrong := broken()) else 0)
