"""Sphinx's settings of the site, which `make docs` builds into build/docs/html."""

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from docstrings import process  # noqa: E402  # beside this file
from generated import write_pages  # noqa: E402  # beside this file
from notebooks import choose_execution, offer, say_language  # noqa: E402  # beside this file

import moganet  # noqa: E402

project = "moganet"
author = "the moganet authors"
version = release = moganet.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
parts = [f"reference/generated/{part}.md" for part in ("trainings", "numbers")]  # which the page of results includes
exclude_patterns = ["README.md", "_build", *parts]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4  # as the pages' links to headings have them
nb_execution_mode, nb_execution_cache_path = choose_execution()
nb_execution_in_temp = True  # each notebook in an empty folder
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 900  # seconds a cell, of a busy machine; a quiet one of two cores needs 120 for a notebook
nb_merge_streams = True
suppress_warnings = ["misc.highlighting_failure"]

default_role = "code"  # what stands in backticks in docstrings
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False}

html_theme = "furo"
html_title = "moganet"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False  # the licence stands in the repository
html_theme_options = {"navigation_with_keys": True}
copybutton_exclude = ".linenos, .gp, .go"

write_pages(HERE / "reference" / "generated")


def setup(app: Any) -> None:
    """Let docstrings be rewritten as they are read, and notebooks be offered."""
    app.connect("autodoc-process-docstring", process)
    app.connect("doctree-read", offer)
    app.connect("html-page-context", say_language)
