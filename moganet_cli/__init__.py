"""The `moganet` command: one typer command a verb, which parses, calls and prints.

It lies beside the package, since importing the package brings torch and timm in, and `--help` must not wait for them.
"""

import logging
import sys
import traceback
import warnings
from typing import Any

# This is the order of the commands in --help.
# isort: off
from moganet_cli import train, use, explain, report, interactions, files, measure  # noqa: F401
from moganet_cli.app import EXIT_BUG, EXIT_USER, app

# isort: on


def main(arguments: list[str] | None = None) -> None:
    """Run the command; the user's mistakes end in one line and exit code 2, ours in a traceback and 1."""
    warnings.showwarning = _show_warning
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    logging.getLogger("moganet").setLevel(logging.INFO)
    try:
        app(arguments)
    except Exception as error:
        errors = sys.modules.get("moganet.errors")
        if errors is not None and isinstance(error, errors.MogaNetError):
            print(f"moganet: {_one_line(error)}", file=sys.stderr)
            sys.exit(EXIT_USER)
        traceback.print_exc()
        print(
            "moganet: this is a bug of moganet, not a mistake of yours; please report it with the lines above",
            file=sys.stderr,
        )
        sys.exit(EXIT_BUG)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if not issubclass(category, DeprecationWarning | PendingDeprecationWarning | FutureWarning):  # for developers
        print(f"warning: {message}", file=sys.stderr)


def _one_line(error: Exception) -> str:
    """Give an error's own line; one that crossed a worker process carries that process's traceback before it."""
    last = str(error).strip().splitlines()[-1]
    return last.partition("Error: ")[2] if last.startswith("moganet.errors.") else last
