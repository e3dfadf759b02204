"""The network's own view: where each block's gate opens, and which order of interaction its branches bring.

A MogaNet block gathers context by depth-wise convolutions of dilation 1, 2 and 3 and lets a gate choose from it
(paper, section 4.2). No target takes part: the maps say what the network reads, not what for.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moganet.errors import ConfigError
from moganet.explanations.method import Explanation, as_found, check_inputs

BRANCHES = ("order_1", "order_2", "order_3")


def orders(model: nn.Module, images: Tensor, targets: Tensor) -> list[Explanation]:
    """Give the strength of the gates, averaged over all blocks, and the branches' shares of every block.

    A gate's strength is its mean absolute value over the channels, divided by its mean over the map, so that each
    block counts alike. A branch's share at a place is the length of what it sends through the mixer's 1x1 convolution,
    over the sum of the three. details: `blocks`, each with `gate` (mean strength) and `shares` of dilation 1, 2, 3.
    parts: `stage{n}.gate` and `stage{n}.share_{k}`, the means over a stage's blocks.
    Raises ConfigError for a network that has no orders.
    """
    check_inputs(images, targets)
    if not hasattr(model, "forward_orders"):
        raise ConfigError(f"{type(model).__name__} has no orders; this method explains MogaNets only")
    with as_found(model) as device, torch.no_grad():
        return [_explain(model, image) for image in images.to(device)]


def _explain(model: Any, image: Tensor) -> Explanation:
    maps = model.forward_orders(image[None])
    names = [name.removesuffix(".gate") for name in maps if name.endswith(".gate")]
    blocks, parts, gates = [], {}, []
    stages = [name.partition(".")[0] for name in names]
    for stage in dict.fromkeys(stages):
        own = []
        for name in (name for name, of in zip(names, stages, strict=True) if of == stage):
            strength = maps[f"{name}.gate"][0].abs().float().mean(0)  # (h, w)
            shares = _shares(model.get_submodule(name), [maps[f"{name}.{branch}"][0] for branch in BRANCHES])
            own.append(torch.cat([(strength / strength.mean().clamp(min=1e-12))[None], shares]))
            mean_shares = shares.mean((1, 2)).tolist()
            blocks.append({"name": name, "gate": strength.mean().item(), "shares": mean_shares})
        size = list(image.shape[1:])
        full = [F.interpolate(one[None], size, mode="bilinear", align_corners=False)[0].cpu() for one in own]
        gates += [one[0] for one in full]
        for label, part in zip(("gate", "share_1", "share_2", "share_3"), torch.stack(full).mean(0), strict=True):
            parts[f"{stage.replace('blocks', 'stage')}.{label}"] = part
    return Explanation(torch.stack(gates).mean(0), {"blocks": blocks}, parts=parts)


def _shares(block: Any, branches: list[Tensor]) -> Tensor:
    """Give each branch's share of what the mixer's last convolution sums up, (3, h, w)."""
    weight = block.attn.value.PW_conv.weight  # (C, C, 1, 1); its inputs are the three branches, one after another
    parts = weight.split([len(branch) for branch in branches], dim=1)
    sent = [F.conv2d(branch[None], part)[0].float().norm(dim=0) for branch, part in zip(branches, parts, strict=True)]
    lengths = torch.stack(sent)
    return lengths / lengths.sum(0).clamp(min=1e-12)
