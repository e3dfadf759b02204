"""What a model file says of its tensors: JSON, sealed by its own hash. Nothing here imports torch."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from moganet.config import Architecture, Preprocessing, Settings
from moganet.errors import OutputError, WeightsError
from moganet.models.provenance import without_places
from moganet.notices import say
from moganet.tasks import TASKS
from moganet.tasks.recipes import DEFAULT
from moganet.tasks.task import TaskDescription

DESCRIPTION_KEY, SEAL = "moganet", "seal"  # under which our own files describe themselves; other readers pass it over
OWN = "python:"  # how the name of an architecture begins that only its caller, in Python, can build
MADE = "network"  # in a provenance: the class of a network that was handed over in Python
MAX_DESCRIPTION = 64 << 20  # characters; a million names, recipe and pictures have fewer
# What of a provenance is read again.
KINDS: dict[str, type] = {
    **dict.fromkeys(("recipe", "recipe.data", "versions"), dict),
    **dict.fromkeys(("data", "source", "file", "fingerprint"), str),
}


class Fixture(Settings):
    """An image (PNG in base64) and the logits that the plain network must give for it, in float32; of pixels' logits
    what `moganet.models.fixtures.recorded` makes of them.

    logits: of each class; where there are some for each pixel, means (see fixtures.recorded).
    resized_by: what brought it to the network's size; fixtures of before 2026-11-27 do not say, and are of torch.
    """

    png: str
    logits: tuple[float, ...]
    resized_by: Literal["torch", "pillow"] = "torch"


OF_TASK = ("class_names", "temperature", "reject")  # what version 1 said itself, of classifiers


class ModelDescription(Settings):
    """What a model file says of its tensors.

    task: what the network answers, as its task describes it; version 1 knew classification only, and is read as that.
    provenance: recipe, data, seed, versions, measured accuracy. sha256: over the tensors' names, types, shapes, bytes.
    """

    version: Literal[1, 2] = 2
    architecture: Architecture
    preprocessing: Preprocessing
    task: SerializeAsAny[TaskDescription]
    provenance: dict[str, Any] = Field(default_factory=dict)
    sha256: str = ""
    fixtures: tuple[Fixture, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _as_version_2(cls, values: Any) -> Any:
        """Put what belongs to the task where version 2 has it."""
        if not isinstance(values, dict):
            return values
        moved = {name: values[name] for name in OF_TASK if name in values}
        rest = {name: value for name, value in values.items() if name not in OF_TASK}
        task = rest.get("task", {"name": DEFAULT})
        plain = task.model_dump() if isinstance(task, TaskDescription) else task
        return {**rest, "version": 2, "task": {**plain, **moved} if isinstance(plain, dict) else plain}

    @field_validator("task", mode="before")
    @classmethod
    def _of_known_task(cls, task: Any) -> Any:
        name = task.get("name") if isinstance(task, dict) else None
        if not isinstance(name, str) or name not in TASKS:
            raise ValueError(f"its task is {str(name)[:60]!r}; known: {', '.join(TASKS)}")
        return TASKS[name].description.model_validate(task)

    @property
    def is_own(self) -> bool:
        """Tell whether the network is one that only its caller can build."""
        return self.architecture.name.startswith(OWN)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Give a name for each class that the network tells apart."""
        return self.task.class_names

    @field_validator("provenance")
    @classmethod
    def _of_known_kinds(cls, provenance: dict[str, Any]) -> dict[str, Any]:
        """Refuse what the verbs would stumble over; what they do not know may be anything."""
        recipe = provenance.get("recipe")
        data = recipe.get("data") if isinstance(recipe, dict) else None
        source = data.get("source") if isinstance(data, dict) else None
        for name, kind in KINDS.items():
            value = {"recipe.data": data, "source": source}.get(name, provenance.get(name))
            if value is not None and not isinstance(value, kind):
                raise ValueError(f"{name} is a {type(value).__name__}, not a {kind.__name__}")
        return provenance


def published(description: ModelDescription) -> ModelDescription:
    """Give a description as others may have it: its provenance names data and models, and no places."""
    return description.changed(provenance=without_places(description.provenance))


def describe_as_json(description: ModelDescription) -> str:
    """Give a description as JSON, without places, and sealed by its own hash: a flipped bit in it is noticed too."""
    plain = json.loads(json.dumps(published(description).model_dump(mode="json", exclude_none=True)))
    return json.dumps({**plain, SEAL: seal_of(plain)})


def seal_of(plain: dict[str, Any]) -> str:
    """Give the hash by which a text of JSON is sealed."""
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def description_in(texts: Mapping[Any, Any], path: Path) -> ModelDescription | None:
    """Read what a file of ours says of itself; None in one of others. Raises WeightsError where the key is damaged."""
    text = texts.get(DESCRIPTION_KEY)
    if isinstance(text, str):
        return parse_description(text, path)
    lost = next((key for key, value in texts.items() if isinstance(value, str) and '"seal": "' in value), None)
    if lost is not None or text is not None:
        raise WeightsError(f"{path} is damaged: its description is not where it was written; make or download it again")
    return None


def parse_description(text: str, path: Path) -> ModelDescription:
    """Read a description's JSON. Raises WeightsError that names the file."""
    if len(text) > MAX_DESCRIPTION:
        raise WeightsError(f"{path} has a description of {len(text):,} characters; ours have fewer")
    try:
        plain = json.loads(text)
        seal = plain.pop(SEAL, None)
        if seal is not None and seal != seal_of(plain):
            raise WeightsError(f"{path} is damaged: its description was changed; train or download it again")
        return ModelDescription.model_validate(plain)
    except WeightsError:
        raise
    except (RecursionError, AttributeError, TypeError, ValueError) as error:  # pydantic's and json's are ValueErrors
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path} has a description that can't be read: {reason}") from None


def check_names(description: ModelDescription, outputs: int, path: Path) -> None:
    """Raise WeightsError where a description does not name each of a head's outputs; say which names are equal."""
    names = description.class_names
    if len(names) != outputs:
        raise WeightsError(f"{path} names {len(names):,} classes for a head of {outputs:,}: it is of another network")
    if (equal := _equal(names)) is not None:
        what = "their probabilities stand apart, and what goes by name takes the first"
        remedy = "name them apart in config.json of a hub folder"
        say(f"{path.name} names {equal[1]} of its classes {equal[0]!r}: {what}; {remedy}", doubtful=True)


def refuse_equal_names(names: Sequence[str], path: Path) -> None:
    """Raise OutputError for two classes of one name, which nobody could tell apart in an answer."""
    if (equal := _equal(names)) is not None:
        raise OutputError(f"{path} is not written: {equal[1]} classes are named {equal[0]!r}; name them apart")


def _equal(names: Sequence[str]) -> tuple[str, int] | None:
    name, number = next(iter(Counter(names).most_common(1)), ("", 0))
    return (name, number) if number > 1 else None
