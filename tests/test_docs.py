"""What pages show is true: commands are ones that would be taken, and examples of Python run as they stand there."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from checked_commands import fault_of
from pages import DOCS, ROOT, SHELLS, Block, blocks_of, commands_in, pages
from PIL import Image

LANGUAGES = (*SHELLS, "python", "text", "json", "yaml", "dockerfile")
SHORT = (
    '{"trainer.max_steps": 2, "network.embed_dims": [8, 8, 16, 16], "network.depths": [1, 1, 1, 1], '
    '"network.mlp_ratios": [2, 2, 2, 2], "data.batch_size": 32}'
)
SHORTENED = {'{"trainer.max_epochs": 5}': SHORT}  # so that a test takes seconds
ELSEWHERE = {  # pages that a test of their own runs; of README.zh.md the blocks are README.md's
    "asked.md": "test_asked.py",
    "elsewhere.md": "network/test_elsewhere.py",
    "model-file.md": "models/test_model_file.py",
    "README.zh.md": "test_docs.py",
}
BLOCKS = [block for page in pages() for block in blocks_of(page) if not block.is_directive]
SPANS = re.compile(r"(?<!`)`(moganet [^`]+)`(?!`)")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_would_be_taken(page):
    faults = []
    for block in (block for block in BLOCKS if block.page == page):
        if block.language not in LANGUAGES:
            faults.append(f"{block.place}: say the language behind ```, one of {', '.join(LANGUAGES)}")
        if block.language in SHELLS:
            for words in commands_in(block):
                if fault := fault_of(words, any_program=block.why_not is not None):
                    remedy = "mend it, or say <!-- not run: why --> above the block"
                    faults.append(f"{block.place}: {' '.join(words)}: {fault}; {remedy}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_within_a_sentence_would_be_taken(page):
    """Where it is whole: a name alone, as `moganet predict`, and what stands for several commands are not."""
    faults = []
    for span in SPANS.findall(page.read_text(encoding="utf-8")):
        line = re.sub(r" [A-Z]\b", " 2", " ".join(span.split()))  # --folds K
        fault = None if re.search(r"[\[\]{}|…]|\.\.\.", line) else fault_of(next(commands_in(_shell(page, line))))
        if fault and not fault.startswith("Missing argument"):
            faults.append(f"{page.name}: `{line}`: {fault}")
    assert not faults, "\n".join(faults)


def _shell(page: Path, line: str) -> Block:
    return Block(page, 0, "sh", line)


def python_pages() -> list[Path]:
    marked = {block.page for block in BLOCKS if block.language == "python" and block.why_not is None}
    return sorted(page for page in marked if page.name not in ELSEWHERE)


@pytest.mark.parametrize("page", python_pages(), ids=lambda page: page.stem)
def test_the_examples_of_python_run_in_their_order(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _pictures(tmp_path)
    text = "\n".join(block.text for block in BLOCKS if _is_run(block, page))
    for long, short in SHORTENED.items():
        text = text.replace(long, short)
    exec(compile(text, str(page), "exec"), {"__name__": "__main__"})
    said = capsys.readouterr().out
    for pattern, number in PRINTED.get(page.name, {}).items():
        assert len(re.findall(pattern, said, re.MULTILINE)) == number, f"{pattern} in\n{said}"


def test_pages_that_are_run_elsewhere_are():
    assert all(page in (Path(__file__).parent / test).read_text(encoding="utf-8") for page, test in ELSEWHERE.items())


def _is_run(block: Block, page: Path) -> bool:
    return block.page == page and block.language == "python" and block.why_not is None


# What pages print: patterns, and how often each stands there.
PRINTED = {
    "python.md": {
        "TrainResult": 1,
        r"ClassifyEvaluation of ResNet on python:Scans \(test\), 397 images": 1,
        r"^image \d+ ": 100,
    },
}


def _pictures(folder: Path) -> None:
    """Make the pictures that examples name."""
    (folder / "photos").mkdir()
    random = np.random.default_rng(0)
    for name in ("photo.jpg", "rose.jpg", "three.png", "seven.png", "photos/one.jpg", "photos/two.jpg"):
        Image.fromarray(random.integers(0, 255, (40, 48, 3), np.uint8)).save(folder / name)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python"], ids=lambda one: one.place)
def test_every_example_of_python_can_be_read(block):
    compile(block.text, block.place, "exec")


def test_a_block_that_is_not_run_says_why():
    marks = sum(len(re.findall(r"<!-- not run", page.read_text(encoding="utf-8"))) for page in pages())
    said = [block for block in BLOCKS if block.why_not]
    assert marks == len(said), "a mark <!-- not run: why --> stands right above its block, and says why"


def headings(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^(#+) ", text, re.MULTILINE)


def test_both_readmes_say_the_same():
    """The same commands, figures, links and headings, each in its own language."""
    english, chinese = ROOT / "README.md", ROOT / "README.zh.md"
    assert headings(english) == headings(chinese)
    told = [[(b.language, _uncommented(b)) for b in blocks_of(page)] for page in (english, chinese)]
    assert told[0] == told[1]
    texts = [page.read_text(encoding="utf-8") for page in (english, chinese)]
    for what in (r"\d+(?:[.,]\d+)*", r"\]\(([^)#\s]+)", r"`[^`\n]+`"):
        found = [sorted(re.findall(what, _prose(text))) for text in texts]
        assert found[0] == found[1], f"{what}: {_beyond(*found)} in English alone, {_beyond(*found[::-1])} in Chinese"


def _uncommented(block: Block) -> list[list[str]] | str:
    return list(commands_in(block)) if block.language in SHELLS else re.sub(r"\s*#.*", "", block.text)


def _prose(text: str) -> str:
    """Leave out blocks, and the links from one language to the other."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"\[[^\]]*\]\(README(\.zh)?\.md\)", "", text)


def _beyond(one: list[str], other: list[str]) -> list[str]:
    left = list(one)
    for word in other:
        if word in left:
            left.remove(word)
    return left


@dataclass(frozen=True)
class Sample:
    """A line that is wrong, and what is said of it."""

    line: str
    said: str


@pytest.mark.parametrize(
    "sample",
    [
        Sample("moganet trian digits", "no command"),
        Sample("moganet train digits --epoch 5", "No such option"),
        Sample("moganet train digitz", "no recipe"),
        Sample("moganet train digits --set trainer.max_epoch=3", "max_epochs"),
        Sample("moganet train digits --data foldr:photos", "no source"),
        Sample("moganet predict moganet_nano.cifr10 a.jpg", "no model"),
        Sample("moganet shards mak folder:photos x", "no command"),
        Sample("moganet export runs/a --to onxx", "onxx"),
        Sample("pip install 'moganet[serv]'", "no extra"),
        Sample("make dem", "make has no"),
        Sample("python benchmarks/none.py", "there is no"),
        Sample("curl http://127.0.0.1", "no command that the tests know"),
        Sample("cd runs && torchrun -m moganet train digits --nope", "No such option"),
    ],
    ids=lambda one: one.line,
)
def test_a_wrong_command_would_be_found(sample):
    faults = [fault_of(words) for words in commands_in(_shell(ROOT / "README.md", sample.line))]
    assert any(fault and sample.said in fault for fault in faults), faults


def test_blocks_are_read_with_their_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: needs a GPU -->\n```sh\nmoganet \\\n  info  # what\nA=1 moganet doctor > x && ls\n```\n\n"
        "```console\n$ moganet info\nvariant\n```\n"
    )
    first, second = blocks_of(page)
    assert first.why_not == "needs a GPU" and first.line == 2 and second.why_not is None
    assert list(commands_in(first)) == [["moganet", "info"], ["moganet", "doctor"], ["ls"]]
    assert list(commands_in(second)) == [["moganet", "info"]]
    assert DOCS.is_dir()
