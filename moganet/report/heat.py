"""A map over the image that it explains: where the network looked, as a picture."""

import numpy as np
from matplotlib import colormaps
from PIL import Image

SIGNED, UNSIGNED = "PuOr_r", "inferno"  # whose ends, and whose lightness, the colour-blind tell apart too
OPACITY = 0.75
DIMMED = 0.7  # the image's lightness beneath a map without a sign, where bright is strong
STRONGEST = 99  # the percentile that gets the full colour, so that one pixel does not outshine all others
BORDERS_FROM = 96  # pixels: in a smaller image, lines between superpixels would hide it


def overlay(
    image: np.ndarray,
    heat: np.ndarray,
    side: int | None = None,
    *,
    signed: bool = False,
    segments: np.ndarray | None = None,
) -> np.ndarray:
    """Lay a map (H, W) over the image uint8 (H, W, 3) without its colours, which would be taken for the map's.

    Gives uint8 (H, W, 3), or (side, side, 3). signed: orange speaks for a class and violet against it; else dark to
    bright. The stronger, the more opaque. segments: superpixels (H, W), whose borders are drawn.
    """
    picture, strength = Image.fromarray(image).convert("L"), _scaled(heat if signed else np.clip(heat, 0, None))
    if side is not None:
        small = image.shape[0] < side
        picture = picture.resize((side, side), Image.Resampling.NEAREST if small else Image.Resampling.BOX)
        map_ = Image.fromarray(strength.astype(np.float32))
        strength = np.asarray(map_.resize((side, side), Image.Resampling.BILINEAR), dtype=float)
    grey = np.asarray(picture, dtype=float)[..., None] / 255
    if signed:
        opacity, colours = np.abs(strength), colormaps[SIGNED](0.5 + 0.5 * strength)
    else:
        opacity, colours, grey = np.sqrt(strength), colormaps[UNSIGNED](strength), DIMMED * grey
    opacity = OPACITY * opacity[..., None]
    drawn = (1 - opacity) * grey + opacity * colours[..., :3]
    if segments is not None and min(segments.shape) >= BORDERS_FROM:
        drawn[_borders(segments)] = 1
    pixels: np.ndarray = (255 * drawn).round().astype(np.uint8)
    return pixels


def _scaled(heat: np.ndarray) -> np.ndarray:
    """Bring to -1..1, so that a few extreme pixels do not take all the colours."""
    values = np.nan_to_num(heat)
    scale = np.percentile(np.abs(values), STRONGEST) or np.abs(values).max() or 1.0
    scaled: np.ndarray = np.clip(values / scale, -1, 1)
    return scaled


def _borders(labels: np.ndarray) -> np.ndarray:
    border = np.zeros(labels.shape, dtype=bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    return border
