"""What a search may choose for a setting: a range or some values, told from a text and by what the setting takes."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moganet.config import Recipe, parse_yaml
from moganet.errors import ConfigError
from moganet.files import to_json

WIDE = 10  # a range whose ends differ by this factor is drawn from by the logarithm
DIGITS = 4  # that count, of a drawn number
FIXED = ("data", "data.source", "data.validation", "data.fraction")  # figures would be of other images
FIXED_SECTIONS = ("name", "task", "seed")
RANGE = re.compile(r"(?P<low>[^.].*?)\.\.(?P<high>.+?)(?P<scale>:log|:linear)?")
WHOLE = re.compile(r"[+-]?\d+")
EXAMPLE = "optimizer.lr=1e-4..1e-2, or loss.smoothing=0,0.1"
Load = Callable[[Mapping[str, Any]], Recipe]  # gives the recipe with settings, validated


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both of which may be drawn. log: each decade is as likely."""

    key: str
    low: float
    high: float
    whole: bool
    log: bool

    def text(self) -> str:
        kind = ", ".join(["whole"] * self.whole + ["log" if self.log else "linear"])
        return f"{self.key} from {self.low:g} to {self.high:g} ({kind})"

    def draw(self, trial: Any) -> int | float:
        """Draw a number; of a fraction four digits count, so that a command can say it."""
        if self.whole:
            return int(trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log))
        drawn = float(f"{trial.suggest_float(self.key, self.low, self.high, log=self.log):.{DIGITS}g}")
        return min(max(drawn, self.low), self.high)

    def holds(self, value: Any) -> Any:
        """Give what stands for a value of the recipe's in a study, None where it lies outside."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not self.low <= value <= self.high:
            return None
        return int(value) if self.whole else float(value)


@dataclass(frozen=True)
class Choice:
    """Some values, each as JSON."""

    key: str
    values: tuple[str, ...]

    def text(self) -> str:
        return f"{self.key} one of {', '.join(self.values)}"

    def draw(self, trial: Any) -> Any:
        return parse_yaml(trial.suggest_categorical(self.key, self.values), self.key)

    def every(self) -> list[Any]:
        return [parse_yaml(value, self.key) for value in self.values]

    def holds(self, value: Any) -> Any:
        return text if (text := to_json(value)) in self.values else None


Space = Range | Choice


def read_spaces(texts: Sequence[str] | Mapping[str, Any], load: Load, given: Sequence[str]) -> tuple[Space, ...]:
    """Read KEY=LOW..HIGH, KEY=LOW..HIGH:log, :linear, or KEY=A,B,C; try each end and value in the recipe.

    texts: such texts, or a mapping of settings to what stands after "=", or to a list of values.
    given: settings that are given already. A setting that takes no fraction is drawn whole. A range is drawn from by
    the logarithm where its ends are above 0 and differ by a factor of ten. Raises ConfigError that says what is wrong.
    """
    pairs = [(key, value) for key, value in texts.items()] if isinstance(texts, Mapping) else [*map(_split, texts)]
    spaces = tuple(_read(key, value, load) for key, value in pairs)
    keys = [space.key for space in spaces]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(f"--set-range {key} is given twice; give one of them")
        if key in given:
            raise ConfigError(f"{key} is given by --set too; leave out one of them")
        if key in FIXED or key.split(".")[0] in FIXED_SECTIONS:
            raise ConfigError(f"--set-range {key}: figures with one {key} and another would not be of the same images")
    return spaces


def usual_spaces(recipe: Recipe) -> tuple[Space, ...]:
    """Give what is searched where nothing is asked for: learning rate and weight decay, a decade to either side."""
    rate, decay = recipe.optimizer.lr, recipe.optimizer.weight_decay
    spaces = [Range("optimizer.lr", _round(rate / 10), _round(rate * 10), whole=False, log=True)]
    if decay:
        spaces.append(Range("optimizer.weight_decay", _round(decay / 10), _round(decay * 10), whole=False, log=True))
    return tuple(spaces)


def _round(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")


def _split(text: str) -> tuple[str, str]:
    key, separator, values = text.partition("=")
    if not separator or not key.strip() or not values.strip():
        raise ConfigError(f"--set-range {text!r} must be KEY=LOW..HIGH or KEY=A,B, for example {EXAMPLE}")
    return key.strip(), values.strip()


def _read(key: str, given: Any, load: Load) -> Space:
    if isinstance(given, str) and "," not in given and (found := RANGE.fullmatch(given)):
        return _range(key, found, load)
    values = parse_yaml(f"[{given}]", f"--set-range {key}") if isinstance(given, str) else given
    if not isinstance(values, list | tuple) or len(values) < 2:
        what = f"{given} is one value"
        raise ConfigError(f"--set-range {key}={what}: give LOW..HIGH, or several as A,B, for example {EXAMPLE}")
    for value in values:
        load({key: value})
    texts = tuple(dict.fromkeys(to_json(value) for value in values))
    if len(texts) < 2:
        raise ConfigError(f"--set-range {key}={given}: its values are all the same; give several")
    return Choice(key, texts)


def _range(key: str, found: re.Match[str], load: Load) -> Range:
    texts, said = (found["low"].strip(), found["high"].strip()), f"--set-range {key}={found[0]}"
    try:
        low, high = map(float, texts)
    except ValueError:
        raise ConfigError(f"{said}: {texts[0]!r} and {texts[1]!r} must be numbers, for example {EXAMPLE}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"{said}: the first number must be below the second, and both finite")
    ints = all(WHOLE.fullmatch(text) for text in texts)
    whole = ints and not _takes(key, low + 0.5, load)
    for end in (low, high):
        load({key: int(end) if ints else end})
    log = low > 0 and high >= WIDE * low
    if (scale := found["scale"]) is not None:
        log = scale == ":log"
        if log and low <= 0:
            raise ConfigError(f"{said}: {low:g} has no logarithm; begin above 0, or leave :log away")
    return Range(key, low, high, whole=whole, log=log)


def _takes(key: str, value: float, load: Load) -> bool:
    try:
        load({key: value})
    except ConfigError:
        return False
    return True
