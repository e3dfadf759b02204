"""The site's pages that are made from the code, and docstrings as Sphinx reads them; `make docs` builds the whole."""

import inspect
import re
from pathlib import Path

import measured  # of docs/
import pytest
from checked_commands import fault_of
from pages import DOCS, of_docs

import moganet


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
