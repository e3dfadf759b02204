"""A network that a caller has in Python, whatever built and trained it, as a Predictor."""

import copy
import hashlib
import json
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import torch
from timm.utils.model import unfreeze_batch_norm_2d
from torch import nn

from moganet.config import Architecture, Precision, Preprocessing, validate
from moganet.data.in_python import names_in_order
from moganet.devices import Where, choose_device
from moganet.errors import ConfigError, WeightsError, first_line
from moganet.inference.cached import Source, identity_of, more_of
from moganet.inference.own_outputs import check_logits, noise, probed
from moganet.inference.predictor import Predictor
from moganet.inference.runs import Run
from moganet.inference.runtimes import Runtime, open_predictor
from moganet.inference.tolerance import tolerance_of
from moganet.models.build import build_blank, build_from
from moganet.models.choices import FUNCTION
from moganet.models.chosen import Chosen
from moganet.models.description import MADE, OWN, ModelDescription
from moganet.models.fixtures import replay_fixtures
from moganet.models.formats.ours import save_model_file
from moganet.models.make_fixtures import with_fixtures
from moganet.models.reading.checkpoint import Checkpoint, architecture_of, hash_tensors
from moganet.models.stored import StoredModel
from moganet.models.timms import TIMM, default_names, preprocessing_of
from moganet.network import MogaNet
from moganet.network.variants import VARIANTS
from moganet.notices import say
from moganet.processors import check_threads
from moganet.tasks import TASKS

if TYPE_CHECKING:
    from moganet.data.in_python import ClassNames

SAME = 1e-4  # of the logits' spread: two networks of one function differ by rounding
WRAPPERS = ("module", "_orig_mod")  # in which DataParallel and torch.compile keep the network


def model(
    network: nn.Module,
    class_names: "ClassNames | None" = None,
    preprocessing: Preprocessing | Mapping[str, Any] | None = None,
    *,
    task: str = "classify",
    output: str | int | None = None,
    name: str | None = None,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    device: str = "auto",
    threads: int | None = None,
) -> Predictor:
    """Make a Predictor of a network that gives logits (B, classes) for images (B, C, H, W).

    The network is copied: its mode, its device and its weights stay as they are, and what is trained later does not
    change the Predictor. class_names: as in `open_data`. preprocessing: how its images were prepared, or what of it is
    not as timm says of its networks or, of others, not usual: {"size": 64}, {"mean": …, "std": …}. task: "classify" or
    "multilabel". output: which is taken where the network gives several, by its name or place. name: to speak of it by
    [its class]. runtime: as in `load`; "auto" is torch itself, but for a MogaNet; others are compared with it first.
    device, threads: as in `load`.
    What is taken without having been said is said. Raises ConfigError for what gives no logits, or others than named.
    """
    kind = _task(task)
    check_threads(threads)
    where = Where(choose_device(device), threads)
    network = _unwrapped(network)
    called = name or type(network).__name__
    plain = _copied(network, called)
    own = _preprocessing(plain, preprocessing, called)
    plain, logits = probed(plain, own, output, called)
    check_logits(logits, kind.activation, called)
    names = _names(class_names, logits.shape[1], called)
    architecture = _architecture(plain, logits.shape[1], own.channels, called)
    described = kind.description(name=task, class_names=names)
    provenance = {MADE: f"{type(network).__module__}.{type(network).__qualname__}"}
    description = ModelDescription(
        architecture=architecture,
        preprocessing=own,
        task=described,
        provenance=provenance,
        sha256=hash_tensors(plain.state_dict()),
    )
    description = with_fixtures(plain, description)
    source = Source(lambda: plain, partial(_identity, description=description), where.device)
    source.more, source.check = more_of(plain), partial(_check_run, description=description)
    chosen: Runtime = "eager" if runtime == "auto" and not isinstance(plain, MogaNet) else runtime
    return open_predictor(source, description, chosen, precision, where=where, name_of_model=called)


def _task(name: str) -> Any:
    if name not in TASKS:
        raise ConfigError(f"there is no task {name!r}; choose one of {', '.join(TASKS)}")
    return TASKS[name]


def _copied(network: Any, called: str) -> nn.Module:
    """Give a copy in evaluation mode, in float32 on the CPU. Raises ConfigError for what is no network."""
    _refuse_others(network)
    if any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers())):
        raise ConfigError(f"{called} has no weights: it lies on the device meta; load its state dict first")
    if not any(True for _ in network.parameters()):
        raise ConfigError(f"{called} has no parameters, so there is nothing that was trained")
    try:
        plain: nn.Module = copy.deepcopy(network)
    except Exception as error:  # of whatever hangs on it
        say(f"{called} can't be copied ({first_line(error)}): it is taken itself, in evaluation mode", doubtful=True)
        plain = network
    halves = {
        str(t.dtype).removeprefix("torch.") for t in plain.parameters() if t.dtype in (torch.half, torch.bfloat16)
    }
    if halves:
        say(f"{called} has weights in {' and '.join(sorted(halves))}: they are computed with in float32")
    try:
        # Norms that were frozen are, in evaluation mode, what they were before; files keep them in that form.
        return unfreeze_batch_norm_2d(plain.to("cpu").float()).eval()  # type: ignore[no-any-return]
    except Exception as error:  # an exported program has one mode, and says so
        raise ConfigError(f"{called} can't be put into evaluation mode: {first_line(error)}") from None


def _refuse_others(network: Any) -> None:
    kind = type(network).__name__
    if isinstance(network, nn.Module):
        return
    if isinstance(network, type) and issubclass(network, nn.Module):
        raise ConfigError(f"{network.__name__} is a class of networks; make one of it: {network.__name__}(…)")
    if isinstance(network, str | Path):
        raise ConfigError(f"{str(network)[:100]} is a name; moganet.load opens files, folders and names")
    if isinstance(network, Predictor):
        raise ConfigError("this is a Predictor already; every verb takes it as it is")
    if isinstance(network, Mapping):
        raise ConfigError(
            f"this {kind} holds tensors and no function; build the network, and let it load_state_dict them"
        )
    raise ConfigError(f"this {kind} is no torch.nn.Module; give a network that gives logits for images (B, C, H, W)")


def _unwrapped(network: Any) -> Any:
    """Give what DataParallel and torch.compile wrap."""
    while isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel) or hasattr(network, "_orig_mod"):
        network = next(one for key in WRAPPERS if isinstance(one := getattr(network, key, None), nn.Module))
    return network


def _preprocessing(network: nn.Module, given: Any, called: str) -> Preprocessing:
    if isinstance(given, Preprocessing):
        return given
    if given is not None and not isinstance(given, Mapping):
        what = f"preprocessing is a {type(given).__name__}"
        raise ConfigError(f"{what}; give moganet.config.Preprocessing, or a dict such as {{'size': 64}}")
    asked = dict(given or {})
    first = next((part for part in network.modules() if isinstance(part, nn.Conv2d)), None)
    channels = asked.setdefault("channels", 3 if first is None else first.in_channels)
    cfg = _configuration(network)
    base = preprocessing_of(cfg, channels) if cfg else Preprocessing()
    if channels != base.channels:
        base = base.changed(channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels)
    made = validate(Preprocessing, {**dict(base), **asked}, "preprocessing")
    taken = {"size": f"{made.size[0]}x{made.size[1]} pixels", "mean": f"mean {_short(made.mean)}"}
    taken["std"] = f"deviation {_short(made.std)}"
    if unsaid := [text for key, text in taken.items() if key not in asked]:
        of = "timm's configuration of it" if cfg else "what is usual"
        how = "choose otherwise by preprocessing={'size': …, 'mean': …, 'std': …}"
        say(
            f"{called} does not say how its images were prepared: {', '.join(unsaid)} are {of}; {how}", doubtful=not cfg
        )
    return made


def _short(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:g}" for value in values[:4])


def _configuration(network: nn.Module) -> Mapping[str, Any]:
    """Give timm's configuration of a network that timm made; it is empty for others."""
    try:
        cfg: Any = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None)
    except Exception:  # a property of anyone's making
        return {}
    cfg = cfg.to_dict() if hasattr(cfg, "to_dict") else cfg
    return {key: value for key, value in cfg.items() if value is not None} if _is_timms(cfg) else {}


def _is_timms(cfg: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(cfg, dict) and "input_size" in cfg


def _names(given: "ClassNames | None", number: int, called: str) -> tuple[str, ...]:
    if given is None:
        names = default_names(number)
        shown = f"{names[0]} … {names[-1]}{' (ImageNet)' if number == 1000 else ''}"
        say(
            f"{called} does not name its {number} classes: {shown} are taken; choose otherwise by class_names=[…]",
            doubtful=True,
        )
        return names
    names = names_in_order(given)
    if len(names) != number:
        raise ConfigError(f"{called} gives {number} logits, but class_names names {len(names)}; name each output")
    return names


def _architecture(network: nn.Module, classes: int, channels: int, called: str) -> Architecture:
    """Describe a network that can be built again, a MogaNet or timm's; else by a name that only its caller knows."""
    own = Architecture(name=f"{OWN}{type(network).__name__}", num_classes=classes, in_chans=channels)
    state = network.state_dict()
    try:
        found = _buildable(network, classes, channels)
        blank = {} if found is None else build_blank(found).state_dict()
    except (ConfigError, WeightsError, ValueError):
        return own
    fits = {key: value.shape for key, value in blank.items()} == {key: value.shape for key, value in state.items()}
    return found if found is not None and fits else own


def _buildable(network: nn.Module, classes: int, channels: int) -> Architecture | None:
    if isinstance(network, MogaNet):
        told = architecture_of(Checkpoint("", network.state_dict()))
        return told.changed(**{name: getattr(network, name) for name in FUNCTION})
    cfg = _configuration(network)
    name = cfg.get("architecture")
    if not isinstance(name, str) or name in VARIANTS:
        return None
    tag = cfg.get("tag")
    return Architecture(name=f"{TIMM}{name}{f'.{tag}' if tag else ''}", num_classes=classes, in_chans=channels)


def _identity(network: nn.Module, description: ModelDescription) -> str:
    """Give what files that are made of the network are known by: what it answers too, since its name says nothing."""
    logits = [fixture.logits for fixture in description.fixtures]
    answers = json.dumps(logits) if logits else uuid.uuid4().hex  # of many channels: no other process knows it again
    return f"{identity_of(network, description)} {hashlib.sha256(answers.encode()).hexdigest()}"


def _check_run(run: Run, size: tuple[int, int], description: ModelDescription) -> None:
    """Raise WeightsError where a runtime's file does not answer what the network did."""
    if size != description.preprocessing.size or not description.fixtures:
        return
    logits = np.array([fixture.logits for fixture in description.fixtures], np.float32)
    limit = tolerance_of("f32", raw=False).deviation * (float(logits.std()) or 1.0)
    if (apart := replay_fixtures(description, run)) > limit:
        raise WeightsError(f"its logits deviate by {apart:.2g} from the network's; leave the runtime at eager")


def save(predictor: Predictor, path: str | Path) -> Path:
    """Write a Predictor's network as a model file, as `Predictor.save` says."""
    place, description = Path(path), predictor.config
    if place.suffix != ".safetensors":
        raise ConfigError(f"{place} does not end in .safetensors, as model files do")
    network = predictor.model
    if description.is_own:
        what = f"{predictor.name_of_model} is neither timm's nor a MogaNet, so that no model file can build it again"
        raise ConfigError(f"{what}; moganet.export writes it as a file that runs without its code")
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    chosen = Chosen(format="none", weights="plain", reason="as it is")
    built = build_from(StoredModel(place, state, description, chosen)).eval()
    x = noise(description.preprocessing)
    with torch.inference_mode():
        given = network(x.to(predictor.device)).float().cpu()
        apart = float((built(x) - given).abs().max() / (given.std() or 1.0))
    if not apart <= SAME:
        what = (
            f"{description.architecture.name}, built anew by its name, answers otherwise than {predictor.name_of_model}"
        )
        raise ConfigError(f"{what}: it has options that a model file does not keep; moganet.export writes it as it is")
    save_model_file(place, state, with_fixtures(built, description))
    return place
