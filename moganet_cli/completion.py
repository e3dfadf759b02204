"""What a shell proposes for a word that is begun: names that are known without torch, and paths; and its installation.

Typer's scripts ask this command for words. Where names and paths may be typed both are given, since a shell gives its
own paths only where we give nothing.
"""

import os
import shlex
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import typer

RECIPES = sorted(path.stem for path in (Path(__file__).parent.parent / "moganet" / "recipes").glob("*.yaml"))
SOURCES = ("digits", "cifar10", "cifar100", "folder:", "table:", "masks:", "coco:", "yolo:", "voc:", "shards:", "hub:")
SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
MOST = 1000  # paths of a folder
COMPLETE = "_MOGANET_COMPLETE"  # the variable in which a shell asks for words
Words = Callable[..., list[str]]


def begun(words: Iterable[str], incomplete: str) -> list[str]:
    """Give the words that begin as the incomplete one does."""
    return [word for word in words if word.startswith(incomplete)]


def quick(find: Callable[[typer.Context, str], Iterable[str]]) -> Words:
    """Make a completion of a function of the words before and the incomplete one; whatever it raises, there is none."""

    def words(ctx: typer.Context, incomplete: str) -> list[str]:
        with suppress(Exception):  # a shell would print a traceback into the line that is typed
            return begun(find(ctx, incomplete), incomplete)
        return []

    return words


def paths(incomplete: str, suffixes: tuple[str, ...] = ()) -> list[str]:
    """Give the paths that begin so: folders with a slash, and files, of these endings where some are given."""
    folder, _, name = incomplete.rpartition("/")
    place = Path(f"{folder}/" if folder or incomplete.startswith("/") else ".").expanduser()
    found = []
    for entry in sorted(place.iterdir())[:MOST]:
        if entry.name.startswith(name) and (name or not entry.name.startswith(".")):
            typed = f"{folder}/{entry.name}" if "/" in incomplete else entry.name
            if entry.is_dir():
                found.append(f"{typed}/")
            elif not suffixes or entry.suffix in suffixes:
                found.append(typed)
    return found


def _models(ctx: typer.Context, incomplete: str) -> list[str]:
    from moganet.models.find import list_trained
    from moganet.network import VARIANTS

    return [*list_trained(), *VARIANTS, "timm:", *paths(incomplete)]


def _networks(ctx: typer.Context, incomplete: str) -> list[str]:
    from moganet.network import VARIANTS

    return [name for variant in VARIANTS for name in (variant.removeprefix("moganet_"), variant)] + ["timm:"]


def _settings(ctx: typer.Context, incomplete: str) -> list[str]:
    from moganet.engine.settings import settings

    key, has_value, _ = incomplete.partition("=")
    recipe = _first_argument()
    known = settings(recipe if recipe in RECIPES else None).settings
    if has_value:
        return [f"{key}={choice}" for one in known if one.name == key for choice in one.choices]
    return [f"{name}=" for name in dict.fromkeys(one.name for one in known)]


def _classes(ctx: typer.Context, incomplete: str) -> list[str]:
    from safetensors import safe_open

    from moganet.models.description import description_in
    from moganet.models.find import find, is_shipped

    model = _first_argument()
    if not (Path(model).exists() or is_shipped(model)):  # nothing is downloaded for a word
        return []
    path = find(model).path
    with safe_open(path / "model.safetensors" if path.is_dir() else path, "numpy") as file:
        description = description_in(file.metadata(), path)
    return [] if description is None else list(description.class_names)


def _first_argument() -> str:
    """Give the word behind the command's name: of a line that ends within an option, typer parses no argument."""
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    return next(iter(shlex.split(line)[2:]), "")


recipes = quick(lambda ctx, incomplete: [*RECIPES, *paths(incomplete, (".yaml", ".yml"))])
models, networks, classes = quick(_models), quick(_networks), quick(_classes)
sources = quick(lambda ctx, incomplete: [*SOURCES, *paths(incomplete)])
splits = quick(lambda ctx, incomplete: ("test", "val", "train", "all"))
devices = quick(lambda ctx, incomplete: ("auto", "cpu", "cuda", "mps"))
settings_words = quick(_settings)
settings_names = quick(lambda ctx, incomplete: [word.removesuffix("=") for word in _settings(ctx, "")])


def _shell() -> str:
    """Give the shell that this command was called from. Raises typer.BadParameter where none can be told."""
    import shellingham

    with suppress(shellingham.ShellDetectionFailure):
        if (name := str(shellingham.detect_shell()[0])) in SHELLS:
            return name
    if (name := Path(os.environ.get("SHELL", "")).name) in SHELLS:
        return name
    raise typer.BadParameter(f"can't tell which shell this is; say it by SHELL=NAME in front: {', '.join(SHELLS)}")


def script_for() -> str:
    """Give the lines that let this shell complete this command's words."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    return get_completion_script(prog_name="moganet", complete_var=COMPLETE, shell=_shell())


def install_for() -> list[str]:
    """Install those lines where this shell reads them; say where."""
    from typer.completion import install  # type: ignore[attr-defined]

    shell, place = install(shell=_shell(), prog_name="moganet", complete_var=COMPLETE)
    return [f"completion for {shell} is in {place}; it works from the next {shell} that starts"]
