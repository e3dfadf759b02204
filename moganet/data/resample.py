"""From a read image to the network's input with numpy and Pillow alone.

Images are resized as Pillow does it, which is how the references' and timm's transforms of files do it; where a network
was trained on OpenCV's pixels, as OpenCV does it.
"""

import numpy as np
from PIL import Image

from moganet.config import Preprocessing
from moganet.data.bilinear import resize_pixels
from moganet.data.box_crop import crops_of, whole_box
from moganet.errors import DataError

THIN = 16  # of an image whose longer side would become more than so many crops, only what the crop sees is resized
COLOURS = 3  # channels of an image that Pillow takes whole


def preprocess(images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Turn uint8 images (..., C, H, W) into the network's input, float32 (..., C, h, w)."""
    return normalize(resize_and_crop(images, preprocessing), preprocessing)


def normalize(images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Turn uint8 images (..., C, H, W) into float32 with the described mean and standard deviation."""
    mean, std = (np.array(each, np.float32).reshape(-1, 1, 1) for each in (preprocessing.mean, preprocessing.std))
    floats = images.astype(np.float32)
    floats /= 255
    floats -= mean
    floats /= std
    return floats


def resize_and_crop(images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Bring uint8 images (..., C, H, W) to the described size, (..., C, h, w), as Pillow resizes them."""
    have = images.shape[-2], images.shape[-1]
    full = target_size(have, preprocessing)
    try:
        if preprocessing.crop_mode == "keep":
            return images
        if preprocessing.crop_mode == "box":  # of a whole image, as of one thing that fills it
            flat = images.reshape(-1, *images.shape[-3:])
            return np.concatenate([crops_of(one, whole_box(one), preprocessing) for one in flat]).reshape(
                *images.shape[:-2], *preprocessing.size
            )
        if preprocessing.crop_mode == "fit":
            return _resized(_resized(images, list(fitted(have, preprocessing)), preprocessing), full, preprocessing)
        if is_thin(full, preprocessing.size):
            return resize_seen(images, full, preprocessing)
        return _resized(images, full, preprocessing, preprocessing.size)
    except (MemoryError, ValueError) as error:
        raise not_resized(images.shape, preprocessing, error) from None


def _resized(
    images: np.ndarray, full: list[int], preprocessing: Preprocessing, crop: tuple[int, int] | None = None
) -> np.ndarray:
    """Resize images (..., C, H, W) to `full`, and give the middle of them where they are cropped."""
    have = images.shape[-2], images.shape[-1]
    (height, width), (top, left) = crop or (full[0], full[1]), _first(full, crop) if crop else (0, 0)
    seen = slice(top, top + height), slice(left, left + width)
    if list(have) == full:
        return images[..., *seen]
    if not preprocessing.antialias:
        return resize_pixels(images, (full[0], full[1]))[..., *seen]
    method = Image.Resampling[preprocessing.interpolation.upper()]
    out = np.empty((*images.shape[:-2], height, width), np.uint8)
    if images.shape[-3] == COLOURS:  # at once, to the same values as plane by plane
        for image, to in zip(images.reshape(-1, COLOURS, *have), out.reshape(-1, *out.shape[-3:]), strict=True):
            whole = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).resize(full[::-1], method)
            to[:] = np.asarray(whole)[seen].transpose(2, 0, 1)
    else:
        for plane, to in zip(images.reshape(-1, *have), out.reshape(-1, height, width), strict=True):
            to[:] = np.asarray(Image.fromarray(plane).resize(full[::-1], method))[seen]
    return out


def target_size(have: tuple[int, int], preprocessing: Preprocessing) -> list[int]:
    """Give height and width to which images of a size (height, width) are resized before their middle is cropped."""
    height, width = preprocessing.size
    if preprocessing.crop_mode == "keep":
        return [*have]
    if preprocessing.crop_mode == "fit":
        return [-(-side // preprocessing.multiple) * preprocessing.multiple for side in fitted(have, preprocessing)]
    if preprocessing.crop_mode in ("squash", "box"):
        return [height, width]
    # Rounded down at each step, as torchvision and timm do: one pixel more would shift the crop.
    full = [int(side / preprocessing.crop_fraction) for side in (height, width)]
    covering = 0 if full[0] * have[1] >= full[1] * have[0] else 1  # the side that is resized to its full length
    other = max(full[1 - covering], int(full[covering] * have[1 - covering] / have[covering]))
    return [full[0], other] if covering == 0 else [other, full[1]]


def seen_part(have: tuple[int, int], preprocessing: Preprocessing) -> tuple[float, float, float, float]:
    """Give what the network sees of an image of a size (height, width): top, left, bottom, right, in its pixels."""
    if not preprocessing.one_size:
        return 0.0, 0.0, float(have[0]), float(have[1])
    full, crop = target_size(have, preprocessing), preprocessing.size
    (top, left), (down, across) = _first(full, crop), (have[0] / full[0], have[1] / full[1])
    return top * down, left * across, (top + crop[0]) * down, (left + crop[1]) * across


def base_size(have: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """Give height and width that an image of a size has for the network, before multiples and crops."""
    if preprocessing.crop_mode == "fit":
        return fitted(have, preprocessing)
    height, width = target_size(have, preprocessing)
    return height, width


def fitted(have: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """Give the largest height and width of an image's shape that fit into the size, lying or standing."""
    factor = min(max(preprocessing.size) / max(have), min(preprocessing.size) / min(have))
    return max(1, int(have[0] * factor + 0.5)), max(1, int(have[1] * factor + 0.5))


def is_thin(full: list[int], crop: tuple[int, int]) -> bool:
    """Tell whether an image is so thin that its whole, resized, would be mostly outside the crop."""
    return full[0] > THIN * crop[0] or full[1] > THIN * crop[1]


def not_resized(shape: tuple[int, ...], preprocessing: Preprocessing, error: Exception) -> DataError:
    """Give the error of an image that can't be resized: too large for the memory, say."""
    (height, width), reason = preprocessing.size, str(error).partition("\n")[0][:200]
    return DataError(f"an image of {shape[-1]} x {shape[-2]} pixels can't be brought to {width} x {height}: {reason}")


def resize_seen(images: np.ndarray, full: list[int], preprocessing: Preprocessing) -> np.ndarray:
    """Resize only the part of images that the middle crop of their whole, resized to `full`, would hold.

    Its pixels are those of that crop: within two grey levels, by Pillow; for "nearest" exactly.
    """
    crop, have = preprocessing.size, images.shape[-2:]
    first = _first(full, crop)
    if preprocessing.interpolation == "nearest":
        rows, columns = (_nearest(have[i], full[i], first[i], crop[i]) for i in range(2))
        return images.take(rows, -2).take(columns, -1)
    method = Image.Resampling[preprocessing.interpolation.upper()]
    (top, bottom), (left, right) = (
        (begin * step, min((begin + side) * step, float(size)))
        for begin, side, step, size in zip(first, crop, (have[0] / full[0], have[1] / full[1]), have, strict=True)
    )
    # Along the rows first, as the whole would be, since values are rounded and clipped in between.
    planes = map(Image.fromarray, images.reshape(-1, *have))
    wide = (plane.resize((crop[1], have[0]), method, (left, 0, right, have[0])) for plane in planes)
    seen = [np.asarray(plane.resize(crop[::-1], method, (0, top, crop[1], bottom))) for plane in wide]
    return np.stack(seen).reshape(*images.shape[:-2], *crop)


def _first(full: list[int], crop: tuple[int, int]) -> tuple[int, int]:
    """Give the first row and column of the middle crop, as torchvision's center_crop does."""
    return round((full[0] - crop[0]) / 2), round((full[1] - crop[1]) / 2)


def _nearest(have: int, full: int, first: int, side: int) -> np.ndarray:
    steps = np.full(first + side, have / full)
    steps[0] /= 2
    return np.minimum(steps.cumsum()[first:].astype(np.int64), have - 1)  # step by step, to Pillow's very rounding
