"""From any MODEL to a Predictor."""

import importlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from moganet.config import Precision
from moganet.devices import Where, choose_device
from moganet.errors import ConfigError, WeightsError
from moganet.inference.cached import FILES, Source, identity_of, more_of
from moganet.inference.exported import format_of, is_exported, load_exported
from moganet.inference.known import Known, Said, keep, key_of, recall
from moganet.inference.predictor import Predictor, warn_untrained
from moganet.inference.runtimes import Runtime, choose_runtime, open_predictor
from moganet.models.choices import Choices
from moganet.models.find import find, list_trained, untrained
from moganet.network import VARIANTS
from moganet.notices import recording
from moganet.processors import check_threads

if TYPE_CHECKING:
    from torch import nn

    Model = str | os.PathLike[str] | bytes | IO[bytes]  # what is opened: a name, a path, a file's content, an open file


def load(
    what: "Model | Sequence[Model]",
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    *,
    device: str = "auto",
    threads: int | None = None,
    **choices: Any,
) -> Predictor:
    """Load a model to predict with.

    what: a model file, a released checkpoint of any format, an exported file, a run's folder (its best weights), a
        hub folder, or a name. "moganet_nano.digits" ships with the package, "moganet_small.in1k" is downloaded; a bare
        variant's name is an untrained network with weights from seed 0, and a warning says so. "timm:NAME" is a network
        of timm's with its published weights where they can be had; "timm:NAME@FILE" has those of a file. Or the bytes
        of a model file, or an open one; or a list of models of the same classes, which answer as one, by the mean of
        their probabilities.
    runtime: "eager", "compile", "onnx" or "openvino"; "auto" is OpenVINO where it is installed and there is no GPU,
        else "eager" (or what the environment variable MOGANET_RUNTIME says). An exported file brings its own.
    precision: "f32", or "bf16" and (GPU) "f16" by autocast.
    device: "cpu", "cuda", "cuda:1" or "mps"; "auto" is a GPU where torch has one, else the CPU, and never mps.
    threads: with how many it computes [as many as this process may use: see `moganet doctor`].
    choices: what replaces the file's own: weights ("plain", "ema"), gate ("single", "double"), channel_aggregation
        ("reference", "paddle"), stem_stride (4, 2, 1), num_classes (the head starts anew), in_chans (the stem adapts).
    Raises WeightsError for what can't be loaded, ConfigError for a choice that does not exist.
    """
    if isinstance(what, list | tuple):
        together = importlib.import_module("moganet.inference.together")
        given = choices if threads is None else choices | {"threads": threads}
        joined: Predictor = together.as_one(what, runtime, precision, device=device, **given)
        return joined
    try:
        asked = Choices(**choices)
    except TypeError:
        raise ConfigError(f"load knows {', '.join(vars(Choices()))}, not {', '.join(choices)}") from None
    check_threads(threads)
    if not isinstance(what, str | os.PathLike):
        return _of_bytes(what, asked, runtime, precision, Where(choose_device(device), threads))
    what = Path(what) if isinstance(what, os.PathLike) else what
    if is_exported(Path(what)):
        if choices:
            raise ConfigError(f"{what} is an exported file, whose function is fixed; leave out {', '.join(choices)}")
        at = "cpu" if device == "auto" else choose_device(device)
        return load_exported(Path(what), runtime, precision, Where(at, threads))
    where = Where(choose_device(device), threads)
    return _remembered(what, asked, runtime, precision, where) or _read(what, asked, runtime, precision, where)


def _of_bytes(what: Any, asked: Choices, runtime: Runtime, precision: Precision, where: Where) -> Predictor:
    """Load the content of a model file. Raises WeightsError where it is none."""
    name = os.path.basename(str(getattr(what, "name", ""))) or "bytes"  # noqa: PTH119 (what a file says of itself)
    if not (isinstance(what, bytes | bytearray | memoryview) or hasattr(what, "read")):
        how = "moganet.model makes a Predictor of a network" if hasattr(what, "forward") else "give a file, or a name"
        raise WeightsError(f"a {type(what).__name__} is no model file and no name of one; {how}")
    content = what.read() if hasattr(what, "read") else what
    if isinstance(content, str):
        raise WeightsError(f"{name} was opened as text; open it in mode 'rb'")
    with tempfile.TemporaryDirectory(prefix="moganet-") as folder:  # readers of every format begin at a file
        file = Path(folder) / name
        if format_of(file) is not None:
            raise WeightsError(f"{name} is an exported file, which is loaded by its path")
        file.write_bytes(content)
        try:
            predictor = _read(file, asked, runtime, precision, where)
        except WeightsError as error:
            raise WeightsError(str(error).replace(str(file), name)) from None
    predictor.name_of_model = name
    return predictor


def _remembered(
    what: str | Path, asked: Choices, runtime: Runtime, precision: Precision, where: Where
) -> Predictor | None:
    """Give a model that was loaded before, on a CPU, without torch; None where torch is there, or is needed.

    Its first prediction writes down what a later process finds here.
    """
    if _torch_is_there() or where.device != "cpu" or choose_runtime(runtime, "cpu", precision) not in FILES:
        return None
    if (key := key_of(find(what), asked)) is None:
        return None
    known = recall(key)
    if known is None:
        return _read(what, asked, runtime, precision, where, key)
    known.say_again()

    def make() -> "nn.Module":
        network, _, _ = _opened(what, asked)
        if key_of(find(what), asked) != key:
            raise WeightsError(f"{what} has changed since it was loaded; load it again")
        return network

    source = Source(make, known.identity, more=known.more)
    return open_predictor(source, known.description, runtime, precision, where=where, name_of_model=str(what))


def _torch_is_there() -> bool:
    return "torch" in sys.modules


def _read(
    what: str | Path, asked: Choices, runtime: Runtime, precision: Precision, where: Where, key: str | None = None
) -> Predictor:
    network, known, trained = _opened(what, asked)
    if not trained:
        warn_untrained(known.description.architecture.name)
    source = Source.of(network, known.description, where.device)
    if key is not None and trained and key_of(find(what), asked) == key:  # else it was replaced meanwhile
        source.keep = lambda made: keep(key, known.changed(identity=made.identity, more=made.more))
    named: Any = {"trained": trained, "name_of_model": str(what)}
    return open_predictor(source, known.description, runtime, precision, where=where, **named)


def _opened(what: str | Path, asked: Choices, *, share: bool = False) -> "tuple[nn.Module, Known, bool]":
    """Read a MODEL's network, and say what was chosen. share: its tensors may lie in the file."""
    build_from = importlib.import_module("moganet.models.build").build_from
    with recording() as said:
        stored = importlib.import_module("moganet.models.open").open_model(what, asked)
        network = build_from(stored, share=share)
    known = Known(
        description=stored.description,
        chosen=stored.chosen,
        tensors=len(stored.state),
        said=tuple(Said(*one) for one in said),
    )
    return network, known, stored.trained  # what was read is let go


def describe(what: str | Path, asked: Choices) -> Known:
    """Give what a MODEL is, without torch where it was read before. Raises WeightsError for one without weights."""
    key = None if _torch_is_there() else key_of(find(what), asked)
    if key is not None and (known := recall(key)) is not None:
        known.say_again()
        return known
    network, known, trained = _opened(what, asked, share=True)
    if not trained:
        raise untrained(what)
    if key is not None and key_of(find(what), asked) == key:
        keep(key, known.changed(identity=identity_of(network, known.description), more=more_of(network)))
    return known


def as_predictor(
    model: "Model | Predictor",
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    device: str = "auto",
    **choices: Any,
) -> Predictor:
    """Give a Predictor as it is, and load a MODEL. Raises ConfigError for choices where the Predictor's are made."""
    if not isinstance(model, Predictor):
        return load(model, runtime, precision, device=device, **choices)
    if str(device) not in ("auto", model.device):
        raise ConfigError(f"a Predictor computes where it was loaded, on {model.device}: give device to load")
    if choices:
        raise ConfigError(f"a Predictor has its weights and its function: give {', '.join(choices)} to load")
    return model


def list_models(pretrained: bool = False) -> list[str]:
    """List the variants' names, or with `pretrained` those of trained models: ones that ship, and ones to download."""
    return list_trained() if pretrained else list(VARIANTS)
