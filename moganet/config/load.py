"""Recipe and overrides become one validated, frozen object; what is wrong is said in one line."""

import copy
import math
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import yaml
from pydantic import ValidationError

from moganet.config.descriptions import Architecture
from moganet.config.recipe import Recipe
from moganet.config.settings import Settings, describe_finding
from moganet.errors import ConfigError, did_you_mean, nearest
from moganet.files import neighbours, read_small
from moganet.notices import say

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former takes a fifteenth of the time
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # how a path that is not UTF-8 is written; libyaml refuses it
RECIPE_LIMIT, MAX_VALUES, MAX_BASES = 1_000_000, 10_000, 16  # bytes, values, recipes upon recipes
MOGANET, SHAPE = "moganet_", ("embed_dims", "depths", "mlp_ratios")  # what makes a variant
SettingsType = TypeVar("SettingsType", bound=Settings)


def list_recipes() -> list[str]:
    """Name the recipes that ship with the package."""
    folder = resources.files("moganet.recipes")
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def read_recipe(recipe: str | Path, overrides: Mapping[str, Any] | Sequence[str] = ()) -> dict[str, Any]:
    """Read a recipe's values by name or from a YAML file, and apply overrides, as `moganet.tasks.load_recipe` says."""
    values, changes = _read(recipe), parse_overrides(overrides)
    if isinstance(changes.get("network"), str):
        _leave_shape(values, changes["network"])
    _assign_all(values, changes)
    return values


def parse_overrides(overrides: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    """Give overrides by their dotted keys, also of "key=value" texts. Raises ConfigError for other texts."""
    if isinstance(overrides, Mapping):
        return dict(overrides)
    if isinstance(overrides, str):
        raise ConfigError(f"overrides are {overrides[:100]!r}; give a list of texts, or a dict of settings")
    return dict(_parse_assignment(text) for text in overrides)


def unfolded(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Give overrides as a recipe would have them: sections within each other."""
    values: dict[str, Any] = {}
    _assign_all(values, overrides)
    return values


def _assign_all(values: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    for key in sorted(overrides, key=lambda key: "." in key):  # a whole section first, and then what is in it
        _assign(values, key, copy.deepcopy(overrides[key]))  # later keys may change it, and it is the caller's


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give settings by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found.update(flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return found


def _leave_shape(values: dict[str, Any], name: str) -> None:
    """Leave out the widths, depths and ratios that a recipe gives its own network, where another is asked for."""
    network = values.get("network")
    if not isinstance(network, dict) or name.startswith("timm:"):  # which takes nothing of a MogaNet's
        return
    own = str(network.get("name", Architecture().name))
    gone = [key for key in SHAPE if key in network]
    if gone and own.removeprefix(MOGANET) != name.lower().removeprefix(MOGANET):
        for key in gone:
            del network[key]
        say(f"{', '.join(gone)} of the recipe's network are those of its {own}, and left out for {name}")


def sets(overrides: Mapping[str, Any] | Sequence[str], key: str) -> bool:
    """Tell whether overrides, as of `read_recipe`, give a value to a dotted key."""
    given = parse_overrides(overrides)
    section, _, last = key.rpartition(".")
    inner = given.get(section)
    return key in given or (isinstance(inner, Mapping) and last in inner)


def validate(kind: type[SettingsType], values: Any, what: str) -> SettingsType:
    """Build a section from plain values, with a one-line ConfigError instead of pydantic's report."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{what}: {_explain(kind, error)}") from None


def _read(recipe: str | Path, above: tuple[str, ...] = ()) -> dict[str, Any]:
    path = Path(recipe)
    if str(recipe) in above or len(above) > MAX_BASES:
        raise ConfigError(f"recipe {above[0]} is its own base, by {' and '.join(map(str, above[1:])) or 'itself'}")
    if path.suffix in (".yaml", ".yml"):
        if not path.exists():
            like = did_you_mean(path, neighbours(path))
            raise ConfigError(f"there is no recipe file {path}; {like}recipes that ship: {', '.join(list_recipes())}")
        text = read_small(path, RECIPE_LIMIT, ConfigError)
    elif str(recipe) in list_recipes():
        text = resources.files("moganet.recipes").joinpath(f"{recipe}.yaml").read_text(encoding="utf-8")
    else:
        known = list_recipes()
        what = f"there is no recipe {str(recipe)!r}; {did_you_mean(recipe, known, 0.5)}"
        raise ConfigError(f"{what}choose one of {', '.join(known)}, or a .yaml file")
    values = parse_yaml(text, f"recipe {recipe}")
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"recipe {recipe} must be a mapping with the keys {', '.join(Recipe.model_fields)}")
    base = values.pop("base", None)
    if not isinstance(base, str | None):
        raise ConfigError(f"recipe {recipe}: base must be the name of a recipe, or a YAML file")
    merged = _merge(_read(base, (*above, str(recipe))), values) if base else values
    return {**merged, "name": values.get("name", path.stem)}


def parse_yaml(text: str, what: str) -> Any:
    """Give the values of a YAML text. Raises ConfigError, also for one whose references unfold to no end."""
    loader = yaml.SafeLoader if SURROGATE.search(text) else LOADER
    try:
        node = yaml.compose(text, loader)
        if node is not None and _unfolded(node, {}) > MAX_VALUES:
            raise ConfigError(f"{what} unfolds to more than {MAX_VALUES:,} values by its references; write them out")
        return yaml.load(text, loader)
    except ConfigError:
        raise
    except Exception as error:  # yaml's own errors, and what its constructors raise for odd numbers and dates
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError(f"{what} is not valid YAML: {reason}") from None


def _unfolded(node: yaml.Node, known: dict[int, float]) -> float:
    """Count the values below a node with each reference written out; one that holds itself has no end."""
    if id(node) not in known:
        known[id(node)] = math.inf
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            inner = [part for pair in inner for part in pair]
        known[id(node)] = 1 + sum(_unfolded(part, known) for part in inner)
    return known[id(node)]


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    both = {key for key, value in changes.items() if isinstance(value, dict) and isinstance(base.get(key), dict)}
    return base | changes | {key: _merge(base[key], changes[key]) for key in both}


def _parse_assignment(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {text!r} must be KEY=VALUE, for example --set trainer.max_epochs=10")
    return key.strip(), parse_yaml(value, f"--set {text[:100]!r}")


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {key}: {parent!r} is a single value and has no keys of its own")
        values = inner
    section = Recipe.model_fields.get(key)
    if section is not None and isinstance(value, str) and _is_section(section.annotation):
        main_key = {"data": "source", "start": "model"}.get(last, "name")
        inner = values.get(last) if not value.startswith("timm:") else None  # what else is there is of a MogaNet
        values[last] = {**(inner if isinstance(inner, dict) else {}), main_key: value}
    else:
        values[last] = value


def _is_section(annotation: Any) -> TypeGuard[type[Settings]]:
    return isinstance(annotation, type) and issubclass(annotation, Settings)


def _explain(kind: type[Settings], error: ValidationError) -> str:
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    if first["type"] != "extra_forbidden":
        keys = _known_keys(kind, where)
        choices = re.findall(r"'([^']+)'", first["msg"]) if "literal" in first["type"] else ()
        hint = did_you_mean(first["input"], choices).strip()
        return describe_finding(first, ".".join(keys) or "its values", hint)
    given = ".".join(where)
    return f"there is no setting '{given}'; {_nearest_setting(kind, given)}"


def _nearest_setting(kind: type[Settings], given: str) -> str:
    """Suggest the setting that a mistyped or misplaced one was meant for: first in its own section, then in any."""
    section, _, last = given.rpartition(".")
    paths = _setting_paths(kind)
    siblings = [path for path in paths if path.rpartition(".")[0] == section]
    for candidates in (siblings, paths):
        ends = {path.rpartition(".")[2]: path for path in candidates}
        if near := nearest(last, ends):
            return f"did you mean '{ends[near]}'?"
    return f"known: {', '.join(path.rpartition('.')[2] for path in siblings)}"


def _setting_paths(kind: type[Settings], prefix: str = "") -> list[str]:
    paths = []
    for name, field in kind.model_fields.items():
        paths.append(prefix + name)
        if _is_section(field.annotation):
            paths += _setting_paths(field.annotation, f"{prefix}{name}.")
    return paths


def _known_keys(kind: type[Settings], where: list[str]) -> list[str]:
    """Keep of an error's location what a user wrote: pydantic appends the names of union members."""
    keys: list[str] = []
    current: Any = kind
    for part in where:
        if not _is_section(current) or part not in current.model_fields:
            break
        keys.append(part)
        current = current.model_fields[part].annotation
    return keys
