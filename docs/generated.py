"""Pages of the reference that are made from the code: commands' help, what they give as JSON, the Python API."""

import importlib
import inspect
import json
import pkgutil
import shutil
from pathlib import Path

from command_pages import command_pages  # beside this file
from examples import outputs  # beside this file
from measured import numbers, trainings  # beside this file
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema

import moganet
import moganet.engine
import moganet_cli
from moganet.results import Result

NOT_A_FUNCTION = ("MogaNet", "Prediction", "Predictor")


class Schema(GenerateJsonSchema):
    """JSON schemas in which what pydantic can't describe, arrays of numbers, may be anything."""

    def handle_invalid_for_json_schema(self, schema: CoreSchema, error_info: str) -> JsonSchemaValue:
        return {}


def write_pages(folder: Path) -> None:
    """Write the generated pages where they differ from what is there, so that Sphinx reads again only what changed."""
    printed = outputs()
    pages = {
        "api": _api(),
        "results": _results(),
        "trainings": trainings(),
        "numbers": numbers(),
        **command_pages(printed),
    }
    for name, text in pages.items():
        page = folder / f"{name}.md"
        page.parent.mkdir(parents=True, exist_ok=True)
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")
    for one in printed.values():
        if one.picture is not None:
            shutil.copy2(one.picture, folder / "commands" / Path(one.picture).name)


def _api() -> str:
    """Give the directives by which autodoc writes what `import moganet` offers."""
    told = "What `import moganet` offers. Every verb of the command line is a function of the same name"
    lines = ["# Python", "", f"{told} (`report` is `write_report`, `interactions` `interaction_curves`).", ""]
    for name in sorted(moganet.__all__, key=lambda name: (name in NOT_A_FUNCTION, name.lower())):
        kind = "autoclass" if inspect.isclass(getattr(moganet, name)) else "autofunction"
        lines += [f"## {name}", "", "```{eval-rst}", f".. {kind}:: moganet.{name}", "```", ""]
    return "\n".join(lines)


def _results() -> str:
    """Give the JSON schema of each verb's result."""
    told = "One object on stdout, by these schemas; the same records are what Python's functions give."
    lines = ["# What `--json` prints", "", told, ""]
    for name, kind in sorted(_kinds().items()):
        told = inspect.cleandoc(kind.__doc__ or "").splitlines()
        lines += [f"## {name}", "", told[0] if told else "", "", f"`{kind.__module__}.{kind.__qualname__}`", ""]
        lines += ["```json", json.dumps(kind.model_json_schema(schema_generator=Schema), indent=1), "```", ""]
    return "\n".join(lines)


def _kinds() -> dict[str, type[Result]]:
    """Give the public results that the verbs' rooms define, by name."""
    found: dict[str, type[Result]] = {}
    for one in pkgutil.iter_modules(moganet.engine.__path__):
        for name, kind in vars(importlib.import_module(f"moganet.engine.{one.name}")).items():
            if inspect.isclass(kind) and issubclass(kind, Result) and kind is not Result and not name.startswith("_"):
                found[kind.__name__] = kind
    return found


assert moganet_cli  # registers the commands
