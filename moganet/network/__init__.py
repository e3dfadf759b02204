"""The MogaNet family of networks (arXiv 2211.03295); timm knows them as soon as it and moganet are imported."""

from typing import TYPE_CHECKING

from moganet.importing import from_homes
from moganet.network.variants import ALIASES, OURS, VARIANTS, build_network, full_name, variant_of_shape

if TYPE_CHECKING:
    from moganet.network.moganet import MogaNet

__all__ = ["ALIASES", "OURS", "VARIANTS", "MogaNet", "build_network", "full_name", "variant_of_shape"]


__getattr__ = from_homes(__name__, {"MogaNet": "moganet.network.moganet"})  # which needs torch; the names do not
