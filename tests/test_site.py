"""The site's pages that are made from the code, and docstrings as Sphinx reads them; `make docs` builds the whole."""

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import measured  # of docs/
import pytest
import typer
from checked_commands import fault_of
from pages import DOCS, of_docs

import moganet
from moganet_cli.app import app, speak_as_usual


def test_the_reference_has_every_command_every_function_and_every_result(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTEBOOKS", "off")  # which runs no examples
    of_docs("generated").write_pages(tmp_path)
    commands, api, results = ((tmp_path / f"{name}.md").read_text() for name in ("commands", "api", "results"))
    for name in of_docs("command_pages").verbs():
        page = tmp_path / "commands" / f"{name.replace(' ', '-')}.md"
        text = page.read_text()
        assert f"(commands/{page.name})" in commands and "```sh\nmoganet " in text and "Usage: " in text
        assert "\x1b" not in text
        for link in re.findall(r"\]\((\.\./[^)]+)\)", text):
            assert (DOCS / "reference" / "generated" / "commands" / link).resolve().is_file(), link
    assert all(f":: moganet.{name}\n" in api for name in moganet.__all__)
    assert {"Doctor", "Predictions", "Explanations"} <= set(re.findall(r"^## (\w+)$", results, re.MULTILINE))
    before = (tmp_path / "api.md").stat().st_mtime_ns
    of_docs("generated").write_pages(tmp_path)
    assert (tmp_path / "api.md").stat().st_mtime_ns == before  # Sphinx would read it again


def test_the_commands_of_the_reference_have_examples_that_would_be_taken():
    examples, names = of_docs("examples").EXAMPLES, set(of_docs("command_pages").verbs())
    assert set(examples) == names
    for name, several in examples.items():
        for one in several:
            assert fault_of(one.command.split()) is None, one.command
        assert any(one.command.startswith(f"moganet {name}") for one in several)


@pytest.mark.slow
def test_the_examples_of_the_reference_run(tmp_path, monkeypatch):
    examples = of_docs("examples")
    monkeypatch.setattr(examples, "KEPT", tmp_path)
    monkeypatch.delenv("NOTEBOOKS", raising=False)
    monkeypatch.delenv("MOGANET_REPORT", raising=False)
    printed = examples.outputs()
    assert len(printed) >= len(examples.EXAMPLES) and all(one.text for one in printed.values())
    assert all(Path(one.picture).stat().st_size for one in printed.values() if one.picture)


@pytest.mark.parametrize("name", sorted(name for name in moganet.__all__ if inspect.isfunction(getattr(moganet, name))))
def test_what_a_docstring_says_of_a_parameter_becomes_its_field(name):
    function = getattr(moganet, name)
    told, names = inspect.getdoc(function) or "", set(inspect.signature(function).parameters)
    text = "\n".join(of_docs("docstrings").as_rst(told.splitlines(), names))
    fields = {one for found in re.findall(r"^:param ([\w, ]+):", text, re.MULTILINE) for one in found.split(", ")}
    assert fields <= names
    begun = {one for one in names if re.search(rf"^{one}: ", told, re.MULTILINE)}
    assert begun <= fields and len(re.findall(r"\w+", text.replace("param ", ""))) >= len(re.findall(r"\w+", told))


def test_words_that_look_like_markup_are_escaped_but_not_within_backticks():
    text = "\n".join(of_docs("docstrings").as_rst(["Take *images of a|b.", "", "size_ of `x_*` is kept."], set()))
    assert r"\*images of a\|b" in text and r"size\_ of `x_*`" in text


def test_every_page_is_reached_from_the_first():
    first = (DOCS / "index.md").read_text()
    assert all(re.search(rf"^{page.stem}$", first, re.MULTILINE) for page in DOCS.glob("*.md") if page.stem != "index")


def test_every_link_leads_to_a_file_and_a_heading_of_the_repository(tmp_path, monkeypatch):
    links = of_docs("links")
    assert links.broken() == []
    assert len(links.outside()) > 10 and all(one.startswith("http") for one in links.outside())
    monkeypatch.setattr(links, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# A b\n[1](#a-b) [2](b.md) [3](#c) ![4](no.png) `[5](no)` [6](a.md#a-b)\n")
    assert links.broken() == ["docs/a.md: b.md", "docs/a.md: #c", "docs/a.md: no.png"]


def test_results_stand_with_the_commands_that_give_them():
    rows, kept = measured.trainings().splitlines()[2:], (DOCS.parent / "benchmarks" / "results").glob("cifar10-*.yaml")
    assert len(rows) == len(list(kept)) and all(" % (" in row and "`moganet train cifar10" in row for row in rows)
    assert "| 90.02 % (" in next(row for row in rows if "`cifar10-1h-seed0`" in row)
    assert "](speed.md)" in measured.numbers() and "](../" not in measured.numbers()


GROUP = typer.main.get_command(app)
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))


def cells_of(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(r"\A(:\w+:[^\n]*\n)+\s*", "", cell) for cell in found]


def shell_of(page: Path) -> str:
    """Give the lines that a page's cells hand to a shell, and those of its blocks of sh."""
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for cell in (cell.replace("\\\n", " ") for cell in cells_of(page)):
        blocks += [cell.partition("\n")[2]] if cell.startswith(("%%bash", "%%sh")) else []
        blocks += re.findall(r"^\s*!(.+)$", cell, re.MULTILINE)
    return "\n".join(blocks).replace("\\\n", " ")


def commands_of(page: Path) -> list[list[str]]:
    """Give the words behind `moganet` of each command, whatever starts it; a variable stands as 1."""
    found = []
    for line in shell_of(page).splitlines():
        words = shlex.shlex(re.sub(r"\$\w+|\{\w+\}", "1", line), posix=True, punctuation_chars=True)
        words.whitespace_split = True
        parts: list[list[str]] = [[]]
        for word in words:
            parts = [*parts, []] if set(word) <= set("();<>|&") else [*parts[:-1], [*parts[-1], word]]
        found += [part[part.index("moganet") + 1 :] for part in parts if "moganet" in part and "pip" not in part]
    return found


def test_every_tutorial_is_reached_from_the_first_page_and_runs_where_it_has_cells():
    first = (DOCS / "index.md").read_text(encoding="utf-8")
    for page in TUTORIALS:
        assert re.search(rf"^tutorials/{re.escape(page.stem)}$", first, re.MULTILINE), page.name
        assert page.read_text(encoding="utf-8").startswith("---\njupytext:\n") is bool(cells_of(page)), page.name
    assert sum(len(commands_of(page)) for page in TUTORIALS) > 20


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_every_command_of_a_tutorial_is_one_that_the_command_line_takes(page):
    for verb, *words in commands_of(page):
        command = GROUP.commands[verb]
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context(verb, words)  # parses, runs nothing
    speak_as_usual()  # after a --quiet


@pytest.mark.parametrize("page", [one for one in TUTORIALS if one.stem.endswith(".zh")], ids=lambda page: page.stem)
def test_a_tutorial_has_the_same_cells_headings_links_and_figures_in_both_languages(page):
    other = page.with_name(page.name.replace(".zh", ""))
    assert cells_of(page) == cells_of(other)
    mine, theirs = (one.read_text(encoding="utf-8") for one in (page, other))
    for kind in (r"^#+ ", r"\]\([^)\s]*\)", r"^\|"):
        assert len(re.findall(kind, mine, re.MULTILINE)) == len(re.findall(kind, theirs, re.MULTILINE)), kind
    tables = ["".join(re.findall(r"^\|.*$", text, re.MULTILINE)) for text in (mine, theirs)]
    figures = [re.findall(r"\d[\d.,]*\d|\d", table) for table in tables]
    assert figures[0] == figures[1]


SITE = """---
jupytext:
  text_representation:
    format_name: myst
kernelspec:
  name: python3
---

# A page

[Elsewhere](#a-page).

```{{code-cell}} ipython3
{cell}
```
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("!moganet info nano && moganet predict moganet_nano.digits seven.png", None),
        ("!moganet info nonsense", "CalledProcessError"),
        ("raise ValueError('no')", "ValueError"),
        ("from pathlib import Path\nprint(Path.home())", "place of this machine"),
    ],
)
def test_a_site_is_built_of_what_cells_print_and_not_where_one_fails(cell, said, tmp_path):
    pytest.importorskip("myst_nb")
    pages, built = tmp_path / "pages", tmp_path / "built"
    (pages / "tutorials").mkdir(parents=True)
    drawn = "import PIL.Image\nPIL.Image.new('L', (8, 8)).save('seven.png')\n"
    (pages / "tutorials" / "one.md").write_text(SITE.format(cell=drawn + cell))
    (pages / "index.md").write_text("# First\n\n```{toctree}\ntutorials/one\n```\n")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-c", str(DOCS), str(pages), str(built)]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NOTEBOOKS": "on"}, timeout=300)
    assert (run.returncode == 0) is (said is None), run.stderr
    if said is not None:
        assert said in run.stderr
        return
    notebook = json.loads((built / "tutorials" / "one.ipynb").read_text())
    printed = "".join("".join(one["text"]) for one in notebook["cells"][1]["outputs"])
    assert "moganet_nano" in printed and "seven.png" in printed and "\x1b" not in printed
    assert "[Elsewhere]" not in json.dumps(notebook)
    assert 'href="one.ipynb"' in (built / "tutorials" / "one.html").read_text()
