"""The MogaNet family of networks (arXiv 2211.03295); timm knows them as soon as it and moganet are imported."""

import importlib
from typing import TYPE_CHECKING, Any

from moganet.network.variants import ALIASES, OURS, VARIANTS, build_network, full_name, variant_of_shape

if TYPE_CHECKING:
    from moganet.network.moganet import MogaNet

__all__ = ["ALIASES", "OURS", "VARIANTS", "MogaNet", "build_network", "full_name", "variant_of_shape"]


def __getattr__(name: str) -> Any:
    if name == "MogaNet":  # which needs torch; the names do not
        return importlib.import_module("moganet.network.moganet").MogaNet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
