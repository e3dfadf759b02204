"""The `moganet` command, beside the package, whose import brings in torch, for which `--help` must not wait."""

import errno
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from types import FrameType
from typing import Any

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]

# This is the order of the commands in --help.
# isort: off
from moganet_cli import train, tune, runs, settings, evaluate, compare, predict, serve, info, explain  # noqa: F401
from moganet_cli import batch, report, interactions, embed, similar, probe  # noqa: F401
from moganet_cli import verify, convert, annotations, average, push, export, shards, doctor, benchmark  # noqa: F401
from moganet_cli import streams
from moganet_cli.app import EXIT_BUG, EXIT_INTERRUPTED, EXIT_UNHEARD, EXIT_USER, app, is_verbose, speak_as_usual
from moganet_cli.completion import COMPLETE
from moganet_cli.help import parameters_of
from moganet_cli.output import StdoutError, complain, shown

# isort: on


def main(arguments: list[str] | None = None) -> None:
    """Run the command; the user's mistakes end in one line and exit code 2, ours in a traceback and 1."""
    streams.prepare()
    warnings.showwarning = _show_warning
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line())
    logging.basicConfig(handlers=[handler])
    speak_as_usual()
    before, hook = _second_interrupt_ends_at_once(), sys.unraisablehook
    sys.unraisablehook = _dropped
    try:
        code = _run(arguments)
    except BaseException as error:
        code = _ended_by(error)
        streams.end_children()
        if arguments is None:  # the process is this command's own
            streams.end_now(streams.flush(code))
    finally:
        sys.unraisablehook = hook
        if before is not None:
            signal.signal(signal.SIGINT, before)
    sys.exit(streams.flush(code))


def _run(arguments: list[str] | None) -> int:
    """Parse and run; typer's own main would drop what an interrupt says, and end with 1 where a pipe is closed."""
    command, given = typer.main.get_command(app), sys.argv[1:] if arguments is None else list(arguments)
    if COMPLETE in os.environ:  # a shell asks what a word may become; this ends the process
        completion_init()
        command.main(given, prog_name="moganet", complete_var=COMPLETE)
    try:
        for number, text in enumerate(given, 1):
            if not text or re.fullmatch(r"--[\w-]+=", text):  # it would be the folder that one is in
                where = text or (f"after {given[number - 2]!r}" if number > 1 else "the first")
                raise typer.BadParameter(f"argument {number} ({where}) is empty, as of a variable that is not set")
        with command.make_context("moganet", given) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return 0


def _ended_by(error: BaseException) -> int:
    errors = sys.modules.get("moganet.errors")
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else EXIT_BUG if error.code else 0
    if isinstance(error, KeyboardInterrupt):  # of several processes the first one speaks, of the others each has a code
        code = getattr(error, "exit_code", None)
        if str(error) or code is None:
            complain(f"moganet: {str(error) or 'stopped'}")
        return code or EXIT_INTERRUPTED
    if isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.ESHUTDOWN):  # `| head`
        return EXIT_UNHEARD
    if hasattr(error, "format_message"):  # typer's, of options and arguments
        return _usage(error)
    if is_verbose():
        for text in "".join(traceback.format_exception(error)).splitlines():
            complain(text)
    if (errors is not None and isinstance(error, errors.MogaNetError)) or isinstance(error, StdoutError | typer.Abort):
        complain(f"moganet: {_one_line(error)}")
        return EXIT_USER
    if isinstance(error, OSError) and (place := _place(error)):
        complain(f"moganet: {place}")
        return EXIT_USER
    if _is_out_of_memory(error):
        reason = " ".join(str(error).split()).partition(". Tried")[0][:200] or "no memory"
        complain(f"moganet: this takes more memory than there is ({reason}); ask for fewer images at a time, or less")
        return EXIT_USER
    if not is_verbose():
        for text in "".join(traceback.format_exception(error)).splitlines():
            complain(text)
    complain("moganet: this is a bug of moganet, not a mistake of yours; please report it with the lines above")
    return EXIT_BUG


def _is_out_of_memory(error: BaseException) -> bool:
    """Tell whether more was asked for than this machine has; torch says so in errors of several kinds."""
    if isinstance(error, MemoryError):
        return True
    if "torch" not in sys.modules or not isinstance(error, RuntimeError):
        return False
    from moganet.training.failures import is_out_of_memory

    return is_out_of_memory(error)


def _usage(error: Any) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        complain(f"moganet: {_likened(error, context)}; see {context.command_path if context else 'moganet'} --help")
    return EXIT_USER


def _likened(error: Any, context: Any) -> str:
    """Say in a line what is wrong with what was typed, and what is most like it among options or choices."""
    from moganet.errors import did_you_mean, nearest

    text = " ".join(error.format_message().split()).replace("Value error, ", "").removesuffix(".")
    if hasattr(error, "possibilities") and hasattr(error, "option_name") and context is not None:
        known = [name.lstrip("-") for one in parameters_of(context.command) for name in one.spellings]
        near = nearest(error.option_name.lstrip("-"), [name for name in known if len(name) > 1])
        return f"No such option: {error.option_name}{f'; did you mean --{near}?' if near else ''}"
    if found := re.search(r"'([^']+)' is not one of (.+)", text):
        like = did_you_mean(found[1], re.findall(r"'([^']+)'", found[2])).strip()
        return f"{text}{'; ' if like else ''}{like}"
    return text


def _place(error: OSError) -> str | None:
    """Say which place the system refused, where it is the place that is wrong; nothing where it may be our bug."""
    from moganet.files import FULL_ERRORS, PLACE_ERRORS

    if error.filename is not None and error.errno in (*PLACE_ERRORS, errno.EINVAL):
        return f"can't use {error.filename}: {error.strerror}; choose another place or make room"
    if error.errno in FULL_ERRORS:
        return f"{error.strerror}; make room, or choose another place"
    return None


def _second_interrupt_ends_at_once() -> Any:
    """Let the first Ctrl-C unwind, and a second one end the process wherever it is; give the handler from before."""
    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGINT, _interrupt) or signal.default_int_handler


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


def _dropped(found: Any) -> None:
    """Let an interrupt come again that fell where Python drops exceptions: while it forks, or takes objects away."""
    if found.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(found)
    elif hasattr(signal, "setitimer") and multiprocessing.parent_process() is None:  # a worker is ended by this process
        signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.1)


class _Line(logging.Formatter):
    """A record as one line; another package's may have several."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        text = super().formatMessage(record)
        return shown(text) if record.name.startswith("moganet") else "\n".join(map(shown, text.split("\n")))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return "\n".join(map(shown, super().formatException(ei).split("\n")))


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if is_verbose() or not issubclass(category, DeprecationWarning | PendingDeprecationWarning | FutureWarning):
        complain(f"warning: {_flat(str(message))}")


def _one_line(error: BaseException) -> str:
    """Give an error's own text on one line; one that crossed a worker process carries that process's traceback."""
    text = str(error).strip()
    if "Traceback (most recent call last):" in text:
        text = re.split(r"^moganet\.errors\.\w+: ", text, flags=re.MULTILINE)[-1]
    return _flat(text) or type(error).__name__


def _flat(text: str) -> str:
    return " ".join(part for line in text.splitlines() if (part := line.strip()))
