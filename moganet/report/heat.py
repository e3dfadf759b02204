"""A map over the image that it explains: where the network looked, as a picture."""

import numpy as np
from matplotlib import colormaps
from PIL import Image

SIGNED, UNSIGNED = "PuOr_r", "inferno"  # whose ends, and whose lightness, the colour-blind tell apart too
OPACITY = 0.75
DIMMED = 0.7  # the image's lightness beneath a map without a sign, where bright is strong
OUTSIDE = 0.4  # the lightness of what the network does not see
STRONGEST = 99  # the percentile that gets the full colour, so that one pixel does not outshine all others
Part = tuple[float, float, float, float]  # top, left, bottom, right, in pixels
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
    drawn = _laid(np.asarray(picture, dtype=float)[..., None] / 255, strength, signed=signed)
    if segments is not None and min(segments.shape) >= BORDERS_FROM:
        drawn[_borders(segments)] = 1
    return _as_pixels(drawn)


def on_photograph(
    photograph: np.ndarray,
    heat: np.ndarray,
    part: Part,
    *,
    signed: bool = False,
    segments: np.ndarray | None = None,
) -> np.ndarray:
    """Lay a map (H, W) over the part of a photograph uint8 (h, w, 3) that it is of, at the photograph's size.

    part: top, left, bottom, right, in the photograph's pixels; what lies outside, which the network does not see, is
    dimmed. signed, segments: as in `overlay`.
    """
    rows, columns = inside = seen_slices(part, photograph.shape)
    size = columns.stop - columns.start, rows.stop - rows.start
    strength = _scaled(heat if signed else np.clip(heat, 0, None)).astype(np.float32)
    smooth = Image.Resampling.BILINEAR if segments is None else Image.Resampling.NEAREST
    strength = np.asarray(Image.fromarray(strength).resize(size, smooth), dtype=float)
    grey = np.asarray(Image.fromarray(photograph).convert("L"), dtype=float)[..., None] / 255
    drawn = np.repeat(OUTSIDE * grey, 3, axis=2)
    drawn[inside] = _laid(grey[inside], strength, signed=signed)
    if segments is not None and min(size) >= BORDERS_FROM:
        areas = np.asarray(Image.fromarray(segments.astype(np.int32)).resize(size, Image.Resampling.NEAREST))
        drawn[inside][_borders(areas)] = 1
    return _as_pixels(_framed(drawn, rows, columns))


def layer(heat: np.ndarray, *, signed: bool = False) -> np.ndarray:
    """Give a map (H, W) as colours uint8 (H, W, 4) to lie over a grey photograph: the stronger, the more opaque."""
    strength = _scaled(heat if signed else np.clip(heat, 0, None))
    colours = colormaps[SIGNED](0.5 + 0.5 * strength) if signed else colormaps[UNSIGNED](strength)
    colours[..., 3] = np.abs(strength)
    return _as_pixels(colours)


def with_outside_dimmed(photograph: np.ndarray, part: Part) -> np.ndarray:
    """Give a photograph uint8 (h, w, 3) in its colours, dimmed where the network does not see it."""
    rows, columns = inside = seen_slices(part, photograph.shape)
    drawn = OUTSIDE * photograph / 255
    drawn[inside] = photograph[inside] / 255
    return _as_pixels(_framed(drawn, rows, columns))


def seen_slices(part: Part, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Give the rows and columns of a part, one pixel at least."""
    top, left, bottom, right = (round(side) for side in part)
    top, left = min(max(top, 0), shape[0] - 1), min(max(left, 0), shape[1] - 1)
    bottom, right = max(bottom, top + 1), max(right, left + 1)
    return slice(top, min(bottom, shape[0])), slice(left, min(right, shape[1]))


def _framed(drawn: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """Draw a line around a part, outside of it, where there is room."""
    height, width = drawn.shape[:2]
    around = slice(max(rows.start - 1, 0), rows.stop + 1), slice(max(columns.start - 1, 0), columns.stop + 1)
    for edge, inside in ((rows.start - 1, rows.start > 0), (rows.stop, rows.stop < height)):
        if inside:
            drawn[edge, around[1]] = 1
    for edge, inside in ((columns.start - 1, columns.start > 0), (columns.stop, columns.stop < width)):
        if inside:
            drawn[around[0], edge] = 1
    return drawn


def _laid(grey: np.ndarray, strength: np.ndarray, *, signed: bool) -> np.ndarray:
    """Lay colours over grey (H, W, 1), in 0..1, the stronger the more opaque."""
    if signed:
        opacity, colours = np.abs(strength), colormaps[SIGNED](0.5 + 0.5 * strength)
    else:
        opacity, colours, grey = np.sqrt(strength), colormaps[UNSIGNED](strength), DIMMED * grey
    opacity = OPACITY * opacity[..., None]
    laid: np.ndarray = (1 - opacity) * grey + opacity * colours[..., :3]
    return laid


def _as_pixels(drawn: np.ndarray) -> np.ndarray:
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
