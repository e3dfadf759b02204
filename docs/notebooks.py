"""The site's notebooks (tutorials/*.md): what cells run with, when they run again, the .ipynb beside each page."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from fingerprint import ROOT, of_files  # beside this file
from sphinx.errors import ConfigError
from sphinx.util import logging

logger = logging.getLogger(__name__)
BUILD = ROOT / "build" / "docs"
CODE = ("moganet", "moganet_cli")  # outputs hold what it printed
PLAIN = {  # neither bars nor colours, in lines that fit the page; one thread; nothing of this user's own
    "TTY_COMPATIBLE": "0",
    "NO_COLOR": "1",
    "COLUMNS": "92",
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm's, where there are no widgets
    "MOGANET_CACHE": str(BUILD / "cache"),
    "IPYTHONDIR": str(BUILD / "ipython"),
}
FAILS = """c.InteractiveShell.system_raise_on_error = True  # a command that fails ends its cell, as Python does
c.Application.log_level = "ERROR"
"""
OFFER = {"": "Download this page as a notebook", ".zh": "下载本页的笔记本"}
HERE = re.compile(rf"{re.escape(tempfile.gettempdir())}/tmp\w+/?")  # the empty folder in which cells run
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:)[^)\s]*\)")  # to another page, or within this one


def choose_execution() -> tuple[str, str]:
    """Give myst-nb's mode for $NOTEBOOKS, `on` or `off`, and where outputs are kept. Raises ConfigError for others."""
    word = os.environ.get("NOTEBOOKS") or "on"
    if word not in ("on", "off"):
        raise ConfigError(f"NOTEBOOKS is {word!r}; give on, which runs the tutorials, or off")
    return ("off", "") if word == "off" else ("cache", str(_prepare_kernels()))


def _prepare_kernels() -> Path:
    """Let kernels find the command and print plainly, and give the folder in which outputs are kept.

    It is named by what would change what cells print: other code, or other data sets, let them run again.
    """
    scripts = str(Path(sys.executable).parent)
    os.environ |= {**PLAIN, "PATH": os.pathsep.join([scripts, os.environ.get("PATH", "")])}
    if data := os.environ.get("MOGANET_DATA"):
        os.environ["MOGANET_DATA"] = str(Path(data).absolute())  # cells run in a folder of their own
    profile = Path(PLAIN["IPYTHONDIR"]) / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "ipython_kernel_config.py").write_text(FAILS, encoding="utf-8")
    kept = BUILD / "notebooks" / _fingerprint()
    for other in kept.parent.glob("*"):
        if other != kept:
            shutil.rmtree(other)
    return kept


def _fingerprint() -> str:
    """Hash the package's files, what is set for kernels, and the names of the data sets that there are."""
    data = os.environ.get("MOGANET_DATA")
    names = sorted(path.name for path in Path(data).iterdir()) if data and Path(data).is_dir() else []
    return of_files(CODE, repr((sorted(PLAIN.items()), names)))


def offer(app: Any, doctree: nodes.document) -> None:
    """Check a notebook's outputs, write it beside its page, and put a link to it under the title."""
    name = app.env.docname
    executed = Path(app.outdir).parent / "jupyter_execute" / f"{name}.ipynb"
    if not name.startswith("tutorials/") or not executed.is_file():
        return
    for text in list(doctree.findall(nodes.Text)):
        if HERE.search(text):
            text.parent.replace(text, nodes.Text(HERE.sub("", text)))
    notebook = _for_readers(nbformat.read(executed, as_version=4))
    for place in _places_of_this_machine(notebook):
        logger.warning("an output holds a place of this machine: %s", place, location=name)
    beside = Path(app.outdir) / f"{name}.ipynb"
    beside.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, beside)
    link = f'<p class="offer"><a href="{beside.name}" download>{OFFER[Path(name).suffix]}</a> (.ipynb)</p>'
    title = next(iter(doctree.findall(nodes.title)))
    title.parent.insert(title.parent.index(title) + 1, nodes.raw("", link, format="html"))


def _for_readers(notebook: Any) -> Any:
    """Leave out what only the build needs, where cells ran, and links, which lead to pages that do not lie beside."""
    for key in ("source_map", "mystnb"):
        notebook.metadata.pop(key, None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(r"\1", cell.source)
        if "outputs" in cell:
            cell.outputs = list(_first_streams(cell.outputs))
        for output in cell.get("outputs", ()):
            texts = output if "text" in output else output.get("data", {})
            texts.update({kind: HERE.sub("", text) for kind, text in texts.items() if kind.startswith("text")})
    return notebook


def _first_streams(outputs: list[Any]) -> Iterator[Any]:
    """Leave out what myst-nb has joined to the first output of its stream (nb_merge_streams), and left behind it."""
    joined = set()
    for output in outputs:
        name = output.get("name", id(output))
        if name not in joined:
            joined.add(name)
            yield output


def _places_of_this_machine(notebook: Any) -> Iterator[str]:
    own = (str(ROOT), str(Path.home()), sys.prefix, os.environ.get("MOGANET_DATA", ""), f"{tempfile.gettempdir()}/")
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            texts = output if "text" in output else output.get("data", {})
            text = "\n".join(value for kind, value in texts.items() if kind.startswith("text"))
            yield from (f"{place} in {cell.source[:60]!r}" for place in own if len(place) > 1 and place in text)


def say_language(_app: Any, name: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Let a page in another language say so, by which a browser chooses its characters."""
    if Path(name).suffix == ".zh":
        context["language"] = "zh-CN"
