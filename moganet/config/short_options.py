"""Settings that a person changes often, by a word of their own: `train --epochs 5`, `moganet.train(…, epochs=5)`."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from moganet.config.load import MOGANET, parse_overrides, unfolded
from moganet.errors import ConfigError, did_you_mean

SHORT = {
    "epochs": "trainer.max_epochs",
    "batch_size": "data.batch_size",
    "lr": "optimizer.lr",
    "size": "preprocessing.size",
    "seed": "seed",
    "workers": "data.workers",
    "network": "network.name",
    "freeze_epochs": "start.freeze_epochs",
    "interactions_every": "trainer.interactions_every",
    "device": "trainer.accelerator",
}
OPTIONS = {key: f"--{word.replace('_', '-')}" for word, key in SHORT.items()}  # of the command, by their settings


class ShortOptions(TypedDict, total=False):
    """Their values; None leaves the recipe's."""

    epochs: int | None
    batch_size: int | None
    lr: float | None
    size: int | None
    seed: int | None
    workers: int | None
    network: str | None
    freeze_epochs: int | None
    interactions_every: int | None
    device: str | None


def with_short(overrides: Mapping[str, Any] | Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Join overrides and what was given by short words. Raises ConfigError where both say different things of one."""
    for word in given:
        if word not in SHORT:
            like = did_you_mean(word, SHORT) or "settings without a word of their own go into overrides"
            raise TypeError(f"train() got an unexpected keyword argument {word!r}; {like.strip()}")
    changes = parse_overrides(overrides)
    asked = {word: value for word, value in given.items() if value is not None}
    said = unfolded(changes)
    for word, value in asked.items():
        refuse_two(word, value, SHORT[word], said)
    return {SHORT[word].removesuffix(".name"): value for word, value in asked.items()} | changes


def refuse_two(word: str, value: Any, key: str, said: Mapping[str, Any]) -> None:
    """Raise ConfigError where overrides, unfolded, give a setting another value than an option of its own does."""
    other: Any = said
    for part in key.split("."):
        if not isinstance(other, Mapping) or part not in other:
            return
        other = other[part]
    if not _same(value, other):
        option = f"--{word.replace('_', '-')}"
        raise ConfigError(f"{option} is {value} and --set {key} is {other}; give one of the two")


def _same(one: Any, other: Any) -> bool:
    sides = [one, one]
    try:
        return one == other or sides == list(other) or float(one) == float(other)
    except (TypeError, ValueError):
        return str(one).lower().removeprefix(MOGANET) == str(other).lower().removeprefix(MOGANET)
