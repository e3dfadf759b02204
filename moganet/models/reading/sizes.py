"""How large tensors are, where a network is told by their shapes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from moganet.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor


def size_of(state: Mapping[str, "Tensor"], name: str, dimension: int) -> int:
    """Give a side of a tensor. Raises WeightsError where there is none, or no such tensor."""
    if name not in state:
        found = ", ".join(f"{n[:60]} {tuple(t.shape)}" for n, t in list(state.items())[:3])
        raise WeightsError(f"these are not a MogaNet's tensors: missing: {name}; unexpected: {found or 'nothing'}")
    shape = state[name].shape
    if len(shape) <= dimension or shape[dimension] < 1:
        raise WeightsError(f"these are not a MogaNet's tensors: {name} is {tuple(shape)}")
    return shape[dimension]
