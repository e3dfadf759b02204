"""The page of questions asked elsewhere: what it shows runs, in its order, and prints what stands there."""

import contextlib
import io
import re
from typing import Any

import pytest
from pages import DOCS, SHELLS, Block, blocks_of, commands_in, of_docs

PAGE = DOCS / "asked.md"
EXIT = re.compile(r"# exit code (\d)$")
THREAD = re.compile(r"\[(\d+)\]\(https://github\.com/[\w-]+/[\w-]+/(?:issues|pull)/(\d+)\)")


def test_there_are_twenty_questions_each_with_threads_and_an_answer_that_runs():
    parts = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert [part.split(". ")[0] for part in parts] == [str(number) for number in range(1, 21)]
    for part in parts:
        threads = THREAD.findall(part)
        assert threads and all(named == address for named, address in threads), part[:60]
        assert "```sh\n" in part and "```text\n" in part, part[:60]


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_page_runs_and_prints_what_stands_there(whole, tmp_path, monkeypatch):
    """All but what is marked <!-- slow -->: another training of two epochs, and two folds."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "asked"}
    printed, is_left_out = "", False
    for block in blocks_of(PAGE):
        if block.language != "text":
            is_left_out = block.mark == "slow" and not whole
        if is_left_out:
            continue
        if block.language == "text":
            told = f"{block.place}: expected\n{block.text}\nbut got\n{printed}"
            assert _is_as_shown(printed, block.text), told
        elif block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(block.text, block.place, "exec"), names)
            printed = out.getvalue()
        else:
            assert block.language in SHELLS
            printed = "".join(_run(block, words, code) for words, code in _lines(block))


def _is_as_shown(printed: str, shown: str) -> bool:
    """Tell whether what was printed is what a page shows: `…` is anything, and spaces are alike."""
    pieces = (re.escape(" ".join(piece.split())) for piece in shown.split("…"))
    return re.fullmatch(r".*?".join(pieces), " ".join(printed.split()), re.DOTALL) is not None


def _lines(block: Block) -> list[tuple[list[str], int]]:
    """Give a block's commands, each with the exit code that a comment behind it tells."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        code = EXIT.search(line)
        found += [(words, int(code[1]) if code else 0) for words in commands_in(Block(PAGE, 0, "sh", line))]
    return found


def _run(block: Block, words: list[str], expected: int) -> str:
    code, said = of_docs("running").shown_by(words[1:])
    assert code == expected, f"{block.place}: {' '.join(words)} ended with {code}:\n{said}"
    return said
