"""The models that are served, by their names for clients; changed ones are taken anew, whole or not at all."""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from moganet.errors import ConfigError, MogaNetError, reason_of
from moganet.models.find import name_in_addresses
from moganet.notices import say
from moganet.serve.hosted import Hosted, Source
from moganet.serve.problems import ProblemError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
Hear = Callable[[str], Callable[[Sequence[float]], object]]


def named_models(models: Iterable[str]) -> dict[str, str]:
    """Give each MODEL, or NAME=MODEL, the name by which clients ask for it. Raises ConfigError for two of one name."""
    pairs = [_named(text) for text in models]
    twice = [name for name, number in Counter(name for name, _ in pairs).items() if number > 1]
    if twice:
        what = " and ".join(model for name, model in pairs if name == twice[0])
        raise ConfigError(f"{what} are both named {twice[0]}; name one of them as NAME=MODEL")
    return dict(pairs)


def _named(text: str) -> tuple[str, str]:
    name, equals, model = text.partition("=")
    if equals and not Path(text).exists():
        if not NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no name for a model; take up to 100 letters, digits, '.', '_' and '-'")
        return name, model
    return name_in_addresses(text), text


class Shelf:
    """The models by name, the first being the default. Each request takes the one that is there when it begins.

    linger: seconds for which a replaced model goes on answering: as long as a request may take.
    """

    def __init__(self, sources: Sequence[Source], hear: Hear = lambda name: len, linger: float = 60) -> None:
        self._hear, self._linger, self._lock = hear, linger, threading.Lock()
        self._models: Mapping[str, Hosted] = {}
        self._sources = sources

    def open(self) -> None:
        """Load all models and make them ready. Raises what loading raises."""
        self._models = {
            source.name: Hosted(source, source.opened(), self._hear(source.name)) for source in self._sources
        }

    def get(self, name: str | None = None) -> Hosted:
        """Give a model by its name, the first where none is named. Raises ProblemError (404) where there is none."""
        models = self._models
        if name is None:
            return next(iter(models.values()))
        if name not in models:
            raise ProblemError(404, f"there is no model {name[:100]!r} here; there are {', '.join(models)}")
        return models[name]

    def all(self) -> list[Hosted]:
        """Give all models, the default first."""
        return list(self._models.values())

    def reload(self) -> dict[str, str]:
        """Load what has changed, and put all of it in place at once; what can't be loaded stays as it is.

        Gives what came of each model: "changed", "same" or "kept".
        """
        with self._lock:
            outcome, fresh = dict[str, str](), dict[str, Hosted]()
            for name, old in self._models.items():
                outcome[name], fresh[name] = self._anew(old)
            before, self._models = self._models, fresh
            for name, old in before.items():
                if fresh[name] is not old:
                    old.lane.close(self._linger)
            return outcome

    def _anew(self, old: Hosted) -> tuple[str, Hosted]:
        try:
            opened = old.source.opened()
            if opened.same(old.opened):
                return "same", old
            fresh = Hosted(old.source, opened, self._hear(old.name))
        except Exception as error:  # whatever is in its place now, the old one answers
            reason = str(error) if isinstance(error, MogaNetError) else reason_of(error)
            say(f"{old.name} was not reloaded and answers as before: {reason}", doubtful=True)
            return "kept", old
        return "changed", fresh
