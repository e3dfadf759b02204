"""What an image's channels mean: 1 is grey, 3 is colour, 2 and 4 are these with opacity."""

import numpy as np

from moganet.errors import DataError


def match_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Bring uint8 images (..., C, H, W) to the network's channels; what is transparent shows white, not hidden colours.

    Raises DataError for channels that have no such meaning.
    """
    have = images.shape[-3]
    if have == channels:
        return images
    if channels not in (1, 3) or have not in (1, 2, 3, 4):
        turned = "array.transpose(1, 2, 0) and tensor.permute(2, 0, 1) turn other orders round"
        what = f"the image has {have} channels, and the network reads {channels}"
        raise DataError(f"{what}; arrays must be (H, W, C), tensors (C, H, W): {turned}")
    if have in (2, 4):
        images = _over_white(images)
    if images.shape[-3] == channels:
        return images
    return _grey(images) if channels == 1 else _thrice(images)


def _over_white(images: np.ndarray) -> np.ndarray:
    if (images[..., -1, :, :] == 255).all():
        return images[..., :-1, :, :]
    colours, opacity = images[..., :-1, :, :], images[..., -1:, :, :].astype(np.uint16)
    shown = colours * opacity  # in 16 bits, which hold up to 255 * 255 + 127
    shown += 255 * (255 - opacity) + 127
    shown //= 255
    return shown.astype(np.uint8)


def _grey(images: np.ndarray) -> np.ndarray:
    """Weigh colours as Pillow does (ITU-R 601, in 1/65536), whose grey of a grey image is that image."""
    red, green, blue = (images[..., i : i + 1, :, :].astype(np.int32) for i in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16).astype(np.uint8)


def _thrice(images: np.ndarray) -> np.ndarray:
    """Show one plane as three without copies; torch wants it writable, which `np.broadcast_to` is not."""
    *batch, _, height, width = images.shape
    strides = (*images.strides[:-3], 0, *images.strides[-2:])
    return np.lib.stride_tricks.as_strided(images, (*batch, 3, height, width), strides)
