"""The typer application, the exit codes of its commands, and what all commands have: -h, --quiet, --verbose."""

import functools
import inspect
import logging
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from moganet_cli.help import PRINTED, help_of
from moganet_cli.output import line

EXIT_BUG, EXIT_USER, EXIT_PARTLY, EXIT_INTERRUPTED, EXIT_UNHEARD = 1, 2, 3, 130, 141
# Panels of commands.
TRAINING, USING, UNDERSTANDING, FILES = "Train and measure", "Use a model", "Understand a model", "Files and machines"
QUIET = "Say nothing but results, doubts and errors: no progress, no notes."
VERBOSE = "Say more: settings, what libraries say, and where an error arose."


class Command(TyperCommand):
    """A command whose help has panels, its full width, and an example."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(help_of(self, ctx))


class Group(TyperGroup):
    """The commands, or some that belong together, with help like theirs."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(help_of(self, ctx))


class Application(typer.Typer):
    """Typer, all of whose commands are of the kind above and can be quiet or verbose. epilog: examples, a line each."""

    def command(self, *args: Any, **options: Any) -> Callable[[Any], Any]:
        register = super().command(*args, **{"cls": Command, **options})
        return lambda function: (register(_with_loudness(function)), function)[1]


def speak_as_usual() -> None:
    """Let commands say what a person should hear, until one is asked for less or more."""
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("moganet").setLevel(logging.INFO)
    if "moganet.progress" in sys.modules:  # an earlier command may have been quiet
        sys.modules["moganet.progress"].set_quiet(False)


def _set_quiet(given: bool) -> bool:
    from moganet.progress import set_quiet

    if given:
        logging.getLogger("moganet").setLevel(logging.WARNING)
        set_quiet(True)
    return given


def _set_verbose(given: bool) -> bool:
    if given:
        logging.getLogger().setLevel(logging.INFO)
        logging.getLogger("moganet").setLevel(logging.DEBUG)
    return given


def is_verbose() -> bool:
    """Tell whether the command at work was asked to say more."""
    return logging.getLogger("moganet").level == logging.DEBUG


def _callback(function: Callable[[bool], bool]) -> Callable[[typer.Context, bool], bool]:
    """Do nothing while a shell asks for completions."""
    return lambda context, given: given if context.resilient_parsing else function(given)


def _loud(name: str, text: str, callback: Callable[[bool], bool]) -> inspect.Parameter:
    shown = typer.Option(f"--{name}", f"-{name[0]}", help=text, callback=_callback(callback), rich_help_panel=PRINTED)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, shown])


LOUDNESS = (_loud("quiet", QUIET, _set_quiet), _loud("verbose", VERBOSE, _set_verbose))


def _with_loudness(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options --quiet and --verbose, which act as they are read."""

    @functools.wraps(function)
    def run(**given: Any) -> Any:
        if given.pop("quiet") and given.pop("verbose"):
            raise typer.BadParameter("--quiet and --verbose say the contrary of each other; give one of them")
        given.pop("verbose", None)
        return function(**given)

    own = inspect.signature(function).parameters.values()
    named = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    vars(run)["__signature__"] = inspect.Signature([*named, *LOUDNESS])
    run.__annotations__ = {**function.__annotations__, **{one.name: one.annotation for one in LOUDNESS}}
    return run


app = Application(
    name="moganet",
    cls=Group,
    help="MogaNet image networks: train, measure and use them. Results go to stdout, progress to stderr. "
    "Exit codes: 0 done, 2 a mistake that the message names, 3 done but for a part, 130 stopped, 1 a bug of ours.",
    epilog="moganet train digits\nmoganet predict moganet_nano.cifar10 photo.jpg\nmoganet COMMAND --help",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
    install: Annotated[
        bool, typer.Option("--install-completion", help="Let this shell (bash, zsh, fish, PowerShell) complete words.")
    ] = False,
    show: Annotated[bool, typer.Option("--show-completion", help="Print what would be installed for it.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        line(installed("moganet"))
        raise typer.Exit
    if install or show:
        from moganet_cli.completion import install_for, script_for

        line(*(install_for() if install else script_for().splitlines()))
        raise typer.Exit
