"""How a model is trained again: the command, or the lines of Python, that give its recipe on its data."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from moganet.config import OPTIONS, Recipe, flat, list_recipes, validate
from moganet.data.in_python import PREFIX
from moganet.errors import ConfigError, MogaNetError
from moganet.models.find import list_trained
from moganet.models.timms import is_timms
from moganet.report.page import Command
from moganet.tasks import TASKS
from moganet.tasks.recipes import DEFAULT, load_recipe
from moganet.training.lengthen import HISTORY

# What data and launcher say of a recipe where it leaves them open; `data` and `start` have options of their own.
OPEN = {"network.num_classes", "network.in_chans", "data.source", "start.model"}
HEAD = "network.head"  # which the task's settings make
ONE = {"trainer.devices": 1, "trainer.num_nodes": 1}
PACKAGES = ("torch", "timm")  # whose versions change what is drawn and computed; torchvision follows torch
FRESH = "none"  # random weights, where a recipe would take others
EPOCHS = "--epochs"
WIDTH = 1_000_000  # of YAML's lines: a value is one line


def how_again(provenance: Mapping[str, Any], class_names: tuple[str, ...]) -> Command:
    """Say what trains a model again, by what its file says of where it comes from; no text where that is too little."""
    recipe, versions = provenance.get("recipe"), provenance.get("versions") or {}
    install = _install(versions)
    if averaged := provenance.get("averaged"):
        words = ["moganet", "average", *(str(one["model"]) for one in averaged)]
        notes = (
            "Each of these models has a report of its own, which says how to get it.",
            *_notes(versions, ":", None),
        )
        return Command(shlex.join(words), install=install, notes=notes)
    if not recipe:
        return Command()
    try:
        base, changes = changes_of_a_recipe(recipe)
    except MogaNetError as error:
        return Command("", notes=(f"This version can't read its recipe, so that no command is given: {error}.",))
    changes = {"seed": load_recipe(base).seed, **changes}  # which is always said
    source = str(provenance.get("data") or recipe["data"]["source"])
    start, history = _start(recipe, base), provenance.get(HISTORY) or ()
    if source.startswith(f"{PREFIX}:"):
        call = _call(base, changes, start, class_names)
        note = f"data: your own data set ({source.partition(':')[2]}), or a dict of them by split."
        _, lengthened = _lengthened([], history)
        return Command(call, "Python", install, (note, *lengthened, *_notes(versions, "", start)))
    words = ["moganet", "train", base, "--data", source, *_options(changes)]
    words += [] if start is None else ["--from", start]
    lines, lengthened = _lengthened(words, history)
    text = "\n".join(map(shlex.join, lines))
    if not all(word.isprintable() for line in lines for word in line):  # pasted, it might do what it does not show
        return Command(notes=("Its names hold what is no text, so that no command is given.",))
    return Command(text, install=install, notes=(*lengthened, *_notes(versions, source, start)))


def changes_of_a_recipe(recipe: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Give the nearest recipe that ships, and the settings, by their dotted keys, that make `recipe` of it.

    Raises ConfigError for one that this version does not know.
    """
    task = (recipe.get("task") or {}).get("name", DEFAULT)
    if task not in TASKS:
        raise ConfigError(f"there is no task {task!r}")
    wanted = validate(TASKS[task].recipe, recipe, "it").model_dump(mode="json")
    shipped = {name: one for name in list_recipes() if (one := load_recipe(name)).task.name == task}
    found = {name: _differences(wanted, one) for name, one in shipped.items()}
    base = recipe["name"] if recipe["name"] in found else min(found, key=lambda name: len(found[name]))
    return base, found[base]


def _differences(recipe: dict[str, Any], base: Recipe) -> dict[str, Any]:
    known = flat(base.model_dump(mode="json"))
    return {
        key: value
        for key, value in flat(recipe).items()
        if key not in OPEN
        and not f"{key}.".startswith(f"{HEAD}.")
        and value != known.get(key, ...)
        and not (known.get(key) is None and value == ONE.get(key))
    }


def _lengthened(words: list[str], history: Sequence[Mapping[str, Any]]) -> tuple[list[list[str]], tuple[str, ...]]:
    """Give a command for each length that a run had in its turn."""
    if not history:
        return [words], ()
    out, ends = ["--out", "runs/again"], [f"{one['epochs']} epochs (at step {one['after_steps']})" for one in history]
    lines = [[*_with_epochs(words, str(one["epochs"])), *out, *["--resume"] * bool(n)] for n, one in enumerate(history)]
    note = f"The run was lengthened, from {', then from '.join(ends)}; where it was stopped before, stop it there."
    return [*lines, [*words, *out, "--resume"]], (note,)


def _with_epochs(words: list[str], epochs: str) -> list[str]:
    if EPOCHS not in words:
        return [*words, EPOCHS, epochs]
    place = words.index(EPOCHS) + 1
    return [*words[:place], epochs, *words[place + 1 :]]


def _start(recipe: Mapping[str, Any], base: str) -> str | None:
    """Give the weights that it started from: "none" for fresh ones, where the recipe would take others."""
    model = (recipe.get("start") or {}).get("model")
    would = load_recipe(base).start.model is not None or is_timms((recipe.get("network") or {}).get("name"))
    return str(model) if model is not None else FRESH if would else None


def _options(changes: Mapping[str, Any]) -> Iterator[str]:
    """Give changes as words of the command, those that have an option of their own by it."""
    for key, value in changes.items():
        height, width = value if key == "preprocessing.size" else (value, value)
        if key in OPTIONS and value is not None and height == width and not is_timms(value):
            yield from (OPTIONS[key], str(height))
        else:
            yield from ("--set", f"{key}={_in_yaml(value)}")


def _in_yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=WIDTH)
    return text.removesuffix("\n").removesuffix("\n...")


def _call(base: str, changes: dict[str, Any], start: str | None, class_names: tuple[str, ...]) -> str:
    lines = [repr(base), "data", repr(changes), f"class_names={list(class_names)!r}"]
    lines += [] if start is None else [f"start={start!r}"]
    return "import moganet\n\nmoganet.train(\n" + "".join(f"    {line},\n" for line in lines) + ")"


def _install(versions: Mapping[str, Any]) -> str:
    pinned = [f"{name}=={str(versions[name]).partition('+')[0]}" for name in PACKAGES if versions.get(name)]
    return shlex.join(["pip", "install", *pinned, "torchvision"]) if pinned else ""


def _notes(versions: Mapping[str, Any], source: str, start: str | None) -> tuple[str, ...]:
    others = [f"{name} {versions[name]}" for name in ("moganet", "python") if versions.get(name)]
    notes = [f"It was trained with {' and '.join(others)}."] if others else []
    own_weights = start not in (None, FRESH, *list_trained()) and not is_timms(start)
    if ":" in source or own_weights:
        notes.append("Files and folders stand by their names: write where yours lie.")
    return tuple(notes)
