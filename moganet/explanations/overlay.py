"""A map drawn over its image."""

import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor

SIGNED, UNSIGNED = "PuOr_r", "magma"  # whose ends the colour-blind tell apart too
OPACITY = 0.75
CLIP = 0.99  # of the absolute values lie below the strongest colour
BORDERS_FROM = 96  # pixels: in a smaller image, lines between superpixels would hide it
LUMA = (0.299, 0.587, 0.114)


def overlay(
    image: Tensor, attribution: Tensor, *, signed: bool | None = None, segments: Tensor | None = None
) -> np.ndarray:
    """Draw a map (H, W) over an image uint8 (C, H, W), as uint8 (H, W, 3).

    signed: orange speaks for the target and violet against it, the more opaque the stronger; else dark to bright.
    None asks whether the map has negative values. segments: superpixels (H, W), whose borders are drawn.
    """
    if signed is None:
        signed = bool((attribution < 0).any())
    strength, grey = _scaled(attribution), _grey(image)[..., None]
    if signed:
        opacity = OPACITY * np.abs(strength)[..., None]
        colours = colormaps[SIGNED](0.5 + 0.5 * strength)[..., :3]
    else:
        opacity = np.full_like(grey, OPACITY)
        colours = colormaps[UNSIGNED](np.clip(strength, 0, 1))[..., :3]
    drawn = (1 - opacity) * grey + opacity * 255 * colours
    if segments is not None and min(segments.shape) >= BORDERS_FROM:
        drawn[_borders(segments)] = 255
    pixels: np.ndarray = drawn.clip(0, 255).astype(np.uint8)
    return pixels


def _grey(image: Tensor) -> np.ndarray:
    """Give the image without colours, which would be taken for the map's: (H, W), 0..255."""
    weights = LUMA if len(image) == 3 else (1 / len(image),) * len(image)
    grey: np.ndarray = torch.einsum("chw,c->hw", image.float(), torch.tensor(weights)).numpy()
    return grey


def _scaled(attribution: Tensor) -> np.ndarray:
    """Bring to -1..1, so that a few extreme pixels do not take all the colours."""
    values = torch.nan_to_num(attribution.float())
    top = values.abs().flatten().kthvalue(max(1, int(CLIP * values.numel()))).values
    top = top if top > 0 else values.abs().max().clamp(min=1e-12)
    scaled: np.ndarray = (values / top).clamp(-1, 1).numpy()
    return scaled


def _borders(segments: Tensor) -> np.ndarray:
    labels = segments.numpy()
    border = np.zeros(labels.shape, dtype=bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    return border
