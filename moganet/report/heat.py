"""An explanation over its image: where the network looked, as a picture."""

import numpy as np
from matplotlib import colormaps
from PIL import Image

STRONGEST = 99  # the percentile that gets the full colour, so that one pixel does not outshine all others


def overlay(image: np.ndarray, heat: np.ndarray, side: int) -> np.ndarray:
    """Lay a map (H, W) over the image uint8 (H, W, 3) that it explains; uint8 (side, side, 3).

    Colours are inferno's, whose lightness grows with the value: they hold for every kind of colour vision.
    """
    small = image.shape[0] < side
    base = Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST if small else Image.Resampling.BOX)
    grey = np.asarray(base.convert("L"), dtype=float)[..., None] / 255
    positive = np.nan_to_num(np.clip(heat, 0, None))
    scale = np.percentile(positive, STRONGEST) or positive.max() or 1.0
    values = Image.fromarray((255 * np.clip(positive / scale, 0, 1)).astype(np.uint8))
    strength = np.asarray(values.resize((side, side), Image.Resampling.BILINEAR), dtype=float) / 255
    colour = colormaps["inferno"](strength)[..., :3]
    opacity = 0.75 * np.sqrt(strength)[..., None]
    mixed = (1 - opacity) * 0.7 * grey + opacity * colour
    pixels: np.ndarray = (255 * mixed).round().astype(np.uint8)
    return pixels
