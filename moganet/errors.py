"""What goes wrong for a user, as exceptions whose text is one line that names the remedy; the command prints it."""

import difflib
import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType


class MogaNetError(ValueError):
    """A mistake that the user can mend; its text is one line that says how."""


class ConfigError(MogaNetError):
    """A recipe or a setting is not valid."""


class DataError(MogaNetError):
    """A data set or an image can't be read as asked."""


class OutOfRangeError(DataError):
    """An image holds values beyond black or white, so that its scale is another one."""


class WeightsError(MogaNetError):
    """A file is no checkpoint that we can read, or its tensors do not fit the network."""


class TrainingError(MogaNetError):
    """A run can't go on: its loss is not finite."""


class WorkerError(MogaNetError):
    """A process that reads images died, or gives nothing."""


class UnreachableError(MogaNetError):
    """What lies on other machines could not be fetched."""


class InteractionError(MogaNetError):
    """Players, pairs, orders or contexts are not what they must be."""


class OutputError(MogaNetError):
    """A result can't be written where it was asked for."""


class MissingExtraError(MogaNetError):
    """An optional dependency is not installed; the text names the extra."""


def import_extra(module: str, what: str, extra: str) -> ModuleType:
    """Import an optional package for what needs it. Raises MissingExtraError that names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0].replace("skimage", "scikit-image")
        raise MissingExtraError(f"{what} needs {package}: pip install 'moganet[{extra}]'") from None


def did_you_mean(given: object, known: Iterable[object], alike: float = 0.6) -> str:
    """Propose the known name that is most like the given one ("did you mean 'x'? "), nothing where none is like it."""
    near = nearest(given, known, alike)
    return f"did you mean {near!r}? " if near else ""


def nearest(given: object, known: Iterable[object], alike: float = 0.6) -> str | None:
    """Give the known name that is most like the given one, in whatever case. alike: difflib's ratio, at least."""
    names = {str(name).lower(): str(name) for name in known}
    near = difflib.get_close_matches(str(given).lower()[:100], names, 1, alike)
    return names[near[0]] if near else None


def choose_of(given: object, known: Iterable[object]) -> str:
    """Give the remedy for a name that does not exist: the known one that is most like it, and all of them."""
    names = [str(name) for name in known]
    return f"{did_you_mean(given, names)}choose one of {', '.join(names)}"


def reason_of(error: BaseException) -> str:
    """Give the system's own words for an error, else its first line."""
    return getattr(error, "strerror", None) or first_line(error)


def first_line(error: BaseException) -> str:
    """Give an error's first line with words in it, or its kind; where a runtime's C++ file stood is passed over."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from ", "Check '"))]
    return said[0][:300] if said else type(error).__name__


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Turn whatever other people's code raises within the block into a WeightsError of one line: what, and why."""
    try:
        yield
    except MogaNetError:
        raise
    except Exception as error:  # runtimes, protobuf and zipfile share no class of errors
        raise WeightsError(f"{what}: {first_line(error)}") from None
