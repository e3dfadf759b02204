"""What a kind of targets owes to stand in shards: a member beside each image, and what the index says of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pydantic import JsonValue

from moganet.data.stores import Store
from moganet.data.targets import Targets


class Written(NamedTuple):
    """A member that lies beside an image: its ending, its content, and what the index says of where that begins."""

    suffix: str
    content: bytes
    told: Callable[[int], JsonValue]


@dataclass(frozen=True)
class Told:
    """What an index says of a split's targets, in the split's order.

    values: one an image; shards: the number of each image's shard, of those called `names` in the store.
    """

    values: Sequence[JsonValue]
    shards: Sequence[int]
    names: Sequence[str]
    store: Store
    class_names: tuple[str, ...]
    shared: Mapping[str, JsonValue]


class Kind(Protocol):
    """A kind of targets. `read` raises DataError, or pydantic's error, for what is none of it."""

    of: type[Targets]

    def shared(self, targets: Targets) -> dict[str, JsonValue]: ...
    def write(self, targets: Targets, index: int, class_names: Sequence[str]) -> Written: ...
    def read(self, told: Told) -> Targets: ...


def check_range(numbers: Sequence[int], told: Told) -> None:
    """Raise ValueError for a class that the index does not name."""
    wrong = next((one for one in numbers if not 0 <= one < len(told.class_names)), None)
    if wrong is not None:
        raise ValueError(f"it has a class {wrong}, and names {len(told.class_names)}")
