"""The MogaNet family of networks (arXiv 2211.03295), registered with timm on import."""

from moganet.network.moganet import MogaNet
from moganet.network.variants import ALIASES, OURS, VARIANTS, build_network, full_name, variant_of_shape

__all__ = ["ALIASES", "OURS", "VARIANTS", "MogaNet", "build_network", "full_name", "variant_of_shape"]
