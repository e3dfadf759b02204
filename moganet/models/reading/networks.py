"""Where in a file a network's tensors lie: under which keys, and behind which prefix of their names.

People keep a network under many keys and in attributes of many names (`model`, `net.`, `module._orig_mod.`); one rule
finds them all: what stands before the name that every MogaNet has is the prefix.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from moganet.errors import WeightsError
from moganet.models.choices import Choices, Weights
from moganet.models.reading.checkpoint import Checkpoint, is_release, prefers_plain
from moganet.models.reading.contents import Content

MARK = "patch_embed1.projection.0.weight"  # a name that every MogaNet has
PLAIN_KEYS = ((), ("state_dict",), ("model",), ("state",))  # where nobody wonders to find a network
WRAPPERS = {"module", "_orig_mod"}  # what DDP and torch.compile put before the names
MAX_DEPTH, MAX_NETWORKS = 4, 16  # of dicts within dicts, of networks in one of them
INNER = "_orig_mod."


@dataclass(frozen=True)
class Network:
    """One network's tensors, without their prefix. beside: what lies in the same dict under other names."""

    keys: tuple[str, ...]
    prefix: str
    state: Mapping[Any, Any]
    beside: Mapping[str, Any]

    @property
    def is_ema(self) -> bool:
        """Tell whether its place says that these are averaged weights."""
        return "ema" in "_".join((*self.keys, self.prefix)).replace(".", "_").lower().split("_")

    @property
    def place(self) -> str:
        """Name the place: keys, and the prefix with a star."""
        return "/".join((*self.keys, f"{self.prefix}*"))

    def notes(self) -> list[str]:
        """Say where it was found where one would not look for it, and what was passed over beside it."""
        unusual = self.keys not in PLAIN_KEYS or not set(self.prefix.split(".")) <= {*WRAPPERS, ""}
        notes = [f"found at {self.place[:100]!r}"] if unusual else []
        if tensors := [name for name, value in self.beside.items() if hasattr(value, "shape")]:
            shown = ", ".join(name[:60] for name in tensors[:3]) + (", …" if len(tensors) > 3 else "")
            notes.append(f"passed over beside it: {len(tensors)} tensor{'s'[: len(tensors) > 1]} ({shown})")
        return notes


@dataclass(frozen=True)
class Choice:
    """The network that was taken, of which kind it is, and why."""

    network: Network
    weights: Weights
    reason: str
    is_guess: bool = False

    def checkpoint(self, kind: str, state: Mapping[str, Tensor], why: Mapping[str, str], **more: Any) -> Checkpoint:
        """Give its tensors with what a format knows. why: of gate and aggregation. more: as in Checkpoint."""
        more["guessed"] = ("weights",) * self.is_guess + more.get("guessed", ())
        known = {"weights": self.weights, "notes": tuple(self.network.notes()), **more}
        return Checkpoint(kind, state, reasons={"weights": self.reason, **why}, **known)


def find_networks(values: Any, mark: str = MARK) -> list[Network]:
    """Find every network in a file's objects, in their order."""
    return _find(values, mark, (), set())


def _find(values: Any, mark: str, keys: tuple[str, ...], seen: set[int]) -> list[Network]:
    if not isinstance(values, dict) or id(values) in seen or len(keys) > MAX_DEPTH:
        return []
    seen.add(id(values))
    found = _in_one(values, mark, keys)
    for key, value in values.items():
        found += _find(value, mark, (*keys, str(key)[:60]), seen)
    return found


def _in_one(values: dict[Any, Any], mark: str, keys: tuple[str, ...]) -> list[Network]:
    names = [name for name in values if isinstance(name, str)]
    marked = [name.removesuffix(mark) for name in names if name.endswith(mark) and not isinstance(values[name], dict)]
    found = [prefix for prefix in marked if prefix == "" or prefix.endswith(".")]
    prefixes = sorted(found, key=len, reverse=True)
    if len(prefixes) > MAX_NETWORKS:
        raise WeightsError(f"it holds {len(prefixes)} networks; keep the one that you mean in a file of its own")
    states: dict[str, dict[Any, Any]] = {prefix: {} for prefix in found}
    beside = {}
    for name, value in values.items():
        if (home := next((p for p in prefixes if isinstance(name, str) and name.startswith(p)), None)) is not None:
            states[home][name.removeprefix(home)] = value
        elif isinstance(name, str):
            beside[name] = value
        elif "" in states:
            states[""][name] = value  # so that its reader refuses it
    return [Network(keys, prefix, _without_inner(state), beside) for prefix, state in states.items()]


def _without_inner(state: dict[Any, Any]) -> dict[Any, Any]:
    """Take torch.compile's mark out of the names of parts that were compiled on their own."""
    bare = {name.replace(INNER, "") if isinstance(name, str) else name: value for name, value in state.items()}
    return bare if len(bare) == len(state) else state


def choose_network(content: Content, choices: Choices, networks: list[Network]) -> Choice:
    """Take the network as asked, or by the rule of the releases. Raises WeightsError for none, or two of a kind."""
    kinds: dict[Weights, list[Network]] = {"plain": [], "ema": []}
    for network in networks:
        kinds["ema" if network.is_ema else "plain"].append(network)
    for found in kinds.values():
        if len(found) > 1:
            places = ", ".join(repr(network.place[:80]) for network in found[:4])
            raise WeightsError(f"{content.path} holds several networks ({places}); keep the one that you mean alone")
    if (asked := choices.weights) is not None:
        if not kinds[asked]:
            what, other = ("EMA", "plain") if asked == "ema" else ("plain", "EMA")
            raise WeightsError(f"{content.path} holds no {what} weights, only {other} ones; leave --weights away")
        return Choice(kinds[asked][0], asked, choices.why("weights"))
    if not all(kinds.values()):
        weights: Weights = "plain" if kinds["plain"] else "ema"
        return Choice(kinds[weights][0], weights, "the only ones in the file")
    state = kinds["plain"][0].state
    weights, other = ("plain", "EMA") if prefers_plain(content.values.get("arch"), state) else ("ema", "plain")
    if (released := is_release(state)) is not None:
        return Choice(kinds[weights][0], weights, f"the published accuracy of {released} is theirs")
    return Choice(kinds[weights][0], weights, f"a guess: the file holds {other} ones too", is_guess=True)
