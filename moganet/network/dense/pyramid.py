"""A network as a backbone: what it gives on four levels, whoever made it."""

from typing import Any, NamedTuple

from torch import Tensor, nn

from moganet.errors import ConfigError
from moganet.network.fuse import FusedMogaNet
from moganet.network.moganet import MogaNet

LEVELS = 4


class Level(NamedTuple):
    """A map: its width, its stride in pixels, and the module that gives it."""

    width: int
    stride: int
    module: str


def levels_of(backbone: nn.Module) -> list[Level]:
    """Name the four maps of a backbone. Raises ConfigError for a network that has none, or others."""
    info: Any = getattr(backbone, "feature_info", ())
    every = info if isinstance(info, list) else info.get_dicts(["num_chs", "reduction", "module"])
    modules = {name for name, _ in backbone.named_modules()}
    levels = [Level(one["num_chs"], one["reduction"], _own_name(one["module"], modules)) for one in every]
    if len(levels) != LEVELS:
        raise ConfigError(f"{type(backbone).__name__} gives {len(levels)} maps; a head needs {LEVELS}")
    return levels


def _own_name(module: str, modules: set[str]) -> str:
    """Give a module's name in the network that gives maps: timm flattens some names, and puts others in `model`."""
    return next((name for name in (module, module.replace(".", "_"), f"model.{module}") if name in modules), module)


def maps_of(backbone: nn.Module, x: Tensor) -> list[Tensor]:
    """Give a backbone's four maps of images (B, C, H, W), the finest first."""
    if isinstance(backbone, MogaNet):
        maps = backbone.forward_intermediates(x, intermediates_only=True)
        assert isinstance(maps, list)
        return maps
    if isinstance(backbone, FusedMogaNet):
        return backbone.forward_intermediates(x)
    found: list[Tensor] = backbone(x)  # timm's, made to give features only
    last = getattr(backbone, "output_fmt", "NCHW") == "NHWC"
    return [y.permute(0, 3, 1, 2) for y in found] if last else found
