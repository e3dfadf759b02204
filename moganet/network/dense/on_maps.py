"""What every network with a head on four maps has: a backbone, and what is asked of that."""

from typing import Any

import torch
from torch import nn

from moganet.network.dense.pyramid import levels_of


class OnMaps(nn.Module):
    """A network whose parts stand on the maps of `backbone`."""

    backbone: nn.Module

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Name the four maps as timm does."""
        return [
            {"num_chs": level.width, "reduction": level.stride, "module": f"backbone.{level.module}"}
            for level in levels_of(self.backbone)
        ]

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block of the backbone in the backward pass instead of keeping its activations."""
        self.backbone.set_grad_checkpointing(enable)  # type: ignore[operator]

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Name the parameters that weight decay must spare: the backbone's."""
        spared: Any = getattr(self.backbone, "no_weight_decay", set)
        return {f"backbone.{name}" for name in spared()}
