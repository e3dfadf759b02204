"""A command of this package, run in this process, and what a terminal would have shown of it."""

import contextlib
import io
import logging
import warnings

import moganet_cli


def shown_by(words: list[str]) -> tuple[int, str]:
    """Run a command, without its `moganet`; give its exit code, and what it printed, on stdout and stderr in turn."""
    said, root = io.StringIO(), logging.getLogger()
    handlers, root.handlers = root.handlers, []  # so that notes go where the command says them
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            moganet_cli.main(words)
    except SystemExit as end:
        return int(end.code or 0), said.getvalue()
    finally:
        root.handlers = handlers
    raise AssertionError("a command ends with its exit code")
