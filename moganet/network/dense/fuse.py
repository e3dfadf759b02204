"""A segmenter for inference: backbone fused, norms of the heads folded, and without what only training needs."""

import copy

from torch import nn

from moganet.network.dense.layers import ConvNorm
from moganet.network.dense.segmenter import Segmenter
from moganet.network.fuse import fastest, fold_norm


def fuse_segmenter(network: Segmenter) -> Segmenter:
    """Give the network's function in evaluation mode, fused; the network itself stays as it is."""
    neck, decode_head = (copy.deepcopy(getattr(network, part, None)) for part in ("neck", "decode_head"))
    assert decode_head is not None
    fused = Segmenter(fastest(network.backbone), decode_head, neck)
    for module in fused.modules():
        if isinstance(module, ConvNorm):
            module.conv, module.bn = fold_norm(module.conv, module.bn), nn.Identity()
    return fused.eval().requires_grad_(False)
