"""Fenced blocks of the documentation's pages, and the commands that stand in them."""

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SHELLS = ("sh", "bash", "console", "shell")
COMMENT = re.compile(r"<!-- (.+?) -->\s*$", re.DOTALL)
NOT_RUN = "not run: "
OPERATORS = re.compile(r"[();<>|&]+")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its text, and what a comment right above it says."""

    page: Path
    line: int
    language: str
    text: str
    mark: str = ""

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def why_not(self) -> str | None:
        """Give why it is not run, where that is said."""
        return self.mark.removeprefix(NOT_RUN) if self.mark.startswith(NOT_RUN) else None

    @property
    def is_directive(self) -> bool:
        """Tell whether it is one of MyST's, as {toctree}, and no code."""
        return self.language.startswith("{")


def pages() -> list[Path]:
    """Give the pages that are written by hand."""
    found = [page for page in DOCS.rglob("*.md") if "generated" not in page.parts]
    return [ROOT / "README.md", ROOT / "README.zh.md", *sorted(found)]


def blocks_of(page: Path) -> list[Block]:
    """Give a page's fenced blocks in their order."""
    found, before = [], ""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "fence":
            language, first = token.info.strip().split(" ")[0], (token.map or [0])[0] + 1
            mark = COMMENT.search(before)
            found.append(Block(page, first, language, token.content, " ".join(mark[1].split()) if mark else ""))
        before = token.content if token.type == "html_block" else ""
    return found


def commands_in(block: Block) -> Iterator[list[str]]:
    """Give a shell block's commands, each a list of words: without comments, variables before, and redirections."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":  # what else stands there is what was printed
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    for line in lines:
        yield from filter(None, map(_plain, _parts(line)))


def _parts(line: str) -> Iterator[list[str]]:
    """Divide a line where a shell does, at `&&`, `|`, `;`; the word behind `>` or `<` is a file, and left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    part: list[str] = []
    is_file = False
    for word in lexer:
        if OPERATORS.fullmatch(word):
            is_file = word[-1] in "<>"
            if not is_file:
                yield part
                part = []
        elif not is_file:
            part.append(word)
        else:
            is_file = False
    yield part


def _plain(words: list[str]) -> list[str]:
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def of_docs(name: str) -> ModuleType:
    """Import a module that lies beside the pages, and what it imports of those beside it."""
    if str(DOCS) not in sys.path:
        sys.path.append(str(DOCS))
    return importlib.import_module(name)
