"""A segmenter: a backbone, a neck where its head has one, and heads that tell each pixel's class."""

import copy

from torch import Tensor, nn
from torch.nn import functional as F

from moganet.network.dense.layers import fold_norms
from moganet.network.dense.on_maps import OnMaps
from moganet.network.dense.pyramid import maps_of
from moganet.network.fuse import fastest


class Segmenter(OnMaps):
    """Images (B, C, H, W) to logits (B, classes, H, W) of their size.

    Parameter names are those of the reference's checkpoints: `backbone.`, `neck.`, `decode_head.`, `auxiliary_head.`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        decode_head: nn.Module,
        neck: nn.Module | None = None,
        auxiliary_head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        if neck is not None:
            self.neck = neck
        self.decode_head = decode_head
        if auxiliary_head is not None:
            self.auxiliary_head = auxiliary_head

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits at the images' size."""
        return F.interpolate(self.decoded(maps_of(self.backbone, x)), x.shape[2:], mode="bilinear")

    def forward_train(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give the logits as the heads give them: at stride 4, and at stride 16 those of the auxiliary head."""
        maps = maps_of(self.backbone, x)
        auxiliary = getattr(self, "auxiliary_head", None)
        return self.decoded(maps), None if auxiliary is None else auxiliary(maps)

    def decoded(self, maps: list[Tensor]) -> Tensor:
        """Give the logits (B, classes, H/4, W/4) of the four maps."""
        neck = getattr(self, "neck", None)
        logits: Tensor = self.decode_head(maps if neck is None else neck(maps))
        return logits


@fastest.register
def fuse_segmenter(network: Segmenter) -> Segmenter:
    """Give the network's function in evaluation mode, its backbone fused and its heads' norms folded.

    What only training needs is left out; the network itself stays as it is.
    """
    neck = copy.deepcopy(getattr(network, "neck", None))
    fused = Segmenter(fastest(network.backbone), copy.deepcopy(network.decode_head), neck)
    fold_norms(fused)
    return fused.eval().requires_grad_(False)
