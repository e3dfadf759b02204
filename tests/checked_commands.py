"""Whether a command that a page shows is one that would be taken: it is parsed with the real options, and not run."""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import typer

from moganet.config import list_recipes, with_short
from moganet.config.short_options import SHORT
from moganet.data.open import SOURCES
from moganet.errors import MogaNetError
from moganet.models.find import list_trained, trained_name
from moganet.tasks.recipes import load_recipe
from moganet_cli.app import app, speak_as_usual

ROOT = Path(__file__).parent.parent
GROUP = typer.main.get_command(app)
PLAIN = ("cd", "export", "mkdir", ".", "source", "cat", "ls")  # of a shell, which nobody gets wrong
STARTERS = ("moganet", "srun", "nohup", "timeout", "time")  # of this command
NAMED = re.compile(r"moganet_[a-z]+\.\w+")  # a trained model
ARGUMENTS = ("model", "models", "files", "start")  # where models stand


def fault_of(words: list[str], *, any_program: bool = False) -> str | None:
    """Say what is wrong with a command; nothing where it would be taken.

    any_program: let programs pass that are not known here.
    """
    if "moganet" in words and (words[0] in STARTERS or words[words.index("moganet") - 1] == "-m"):
        return _fault_of_ours(words[words.index("moganet") + 1 :])
    if words[:2] == ["pip", "install"]:
        return _fault_of_extras(words[2:])
    if words[0] == "make":
        return next((f"make has no {word}" for word in words[1:] if "=" not in word and word not in _targets()), None)
    if words[0] == "python" and words[1:] and words[1].endswith(".py"):
        return None if (ROOT / words[1]).is_file() else f"there is no {words[1]}"
    known = any_program or words[0] in PLAIN or words[:2] == ["python", "-m"]
    return None if known else f"{words[0]} is no command that the tests know"


def _fault_of_ours(words: list[str]) -> str | None:
    verb, command = words[0] if words else "", GROUP
    try:
        for depth in (1, 2):
            if not hasattr(command, "commands"):
                break
            if words[depth - 1 : depth] in ([], ["--help"], ["--version"], ["COMMAND"]):
                return None
            verb, command = " ".join(words[:depth]), command.commands[words[depth - 1]]
        given = command.make_context(verb, words[len(verb.split()) :]).params
    except KeyError as error:
        return f"moganet has no command {error}"
    except typer.Exit:  # of --help
        return None
    except Exception as error:  # what typer raises of options
        return error.format_message() if hasattr(error, "format_message") else repr(error)
    finally:
        speak_as_usual()  # where the command was --quiet
    return _fault_of_values(given)


def _fault_of_values(given: Mapping[str, Any]) -> str | None:
    """Look at what the options hold: recipes, their settings, data sources, and the names of trained models."""
    recipe, data = given.get("recipe"), given.get("data")
    if recipe is not None and _is_said(recipe) and not recipe.endswith((".yaml", ".yml")):
        if recipe not in list_recipes():
            return f"there is no recipe {recipe}"
        short = {word: given.get(word) for word in SHORT}
        try:
            load_recipe(recipe, with_short(given.get("set_") or [], short))
        except MogaNetError as error:
            return str(error)
    if data is not None and ":" in data and data.partition(":")[0] not in SOURCES:
        return f"there is no source {data}"
    words = [word for name in ARGUMENTS for word in _several(given.get(name))]
    strange = [word for word in words if NAMED.fullmatch(word) and trained_name(word) not in list_trained()]
    return f"there is no model {strange[0]}" if strange else None


def _several(value: object) -> list[str]:
    return [value] if isinstance(value, str) else [str(one) for one in value] if isinstance(value, list) else []


def _is_said(word: str) -> bool:
    """Tell whether a word is meant, and does not stand for one, as RECIPE and … do."""
    return not word.isupper() and word != "…"


def _fault_of_extras(words: list[str]) -> str | None:
    for word in words:
        if found := re.fullmatch(r"(?:\.|moganet)\[([\w,]+)\]", word):
            for extra in found[1].split(","):
                if extra not in _project()["optional-dependencies"]:
                    return f"there is no extra {extra}"
    return None


@cache
def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@cache
def _targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
