"""A map drawn over its image."""

import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor

SIGNED, UNSIGNED = "PuOr_r", "magma"  # which tell their ends apart for the colour-blind too
OPACITY = 0.75
CLIP = 0.99  # of the absolute values lie below the strongest colour


def overlay(image: Tensor, attribution: Tensor, *, signed: bool | None = None) -> np.ndarray:
    """Draw a map (H, W) over an image uint8 (C, H, W), as uint8 (H, W, 3): the stronger, the more opaque.

    signed: orange speaks for and violet against the target; else dark to bright. None asks whether the map has
    negative values.
    """
    grey = image.float().mean(0) if image.shape[0] != 3 else image.float().mul(_LUMA).sum(0)
    under = 0.35 * 255 + 0.65 * grey.numpy()[..., None] if signed_or(attribution, signed) else grey.numpy()[..., None]
    strength = _scaled(attribution)
    if signed_or(attribution, signed):
        colours = colormaps[SIGNED](0.5 + 0.5 * strength)[..., :3]
    else:
        strength = np.clip(strength, 0, 1)
        colours = colormaps[UNSIGNED](strength)[..., :3]
    opacity = OPACITY * np.abs(strength)[..., None] if signed_or(attribution, signed) else OPACITY
    drawn: np.ndarray = ((1 - opacity) * under + opacity * 255 * colours).clip(0, 255).astype(np.uint8)
    return drawn


def signed_or(attribution: Tensor, signed: bool | None) -> bool:
    """Resolve None: whether the map has negative values."""
    return bool((attribution < 0).any()) if signed is None else signed


def _scaled(attribution: Tensor) -> np.ndarray:
    """Bring to -1..1, so that a few extreme pixels do not take all the colours."""
    values = torch.nan_to_num(attribution.float())
    top = values.abs().flatten().kthvalue(max(1, int(CLIP * values.numel()))).values
    top = top if top > 0 else values.abs().max().clamp(min=1e-12)
    scaled: np.ndarray = (values / top).clamp(-1, 1).numpy()
    return scaled


_LUMA = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
