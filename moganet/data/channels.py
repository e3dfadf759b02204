"""What an image's channels mean: 1 is grey, 3 is colour, 2 and 4 are these with opacity."""

import torch
from torch import Tensor

from moganet.errors import DataError


def match_channels(images: Tensor, channels: int) -> Tensor:
    """Bring uint8 images (..., C, H, W) to the network's channels: 1 is grey, 3 is colour; 2 and 4 have opacity.

    What is transparent shows white paper, not hidden colours. Raises DataError for channels that have no such meaning.
    """
    have = images.shape[-3]
    if have == channels:
        return images
    if channels not in (1, 3) or have not in (1, 2, 3, 4):
        raise DataError(
            f"the image has {have} channels, and the network reads {channels}; arrays must be (H, W, C), tensors "
            "(C, H, W): array.transpose(1, 2, 0) and tensor.permute(2, 0, 1) turn other orders round"
        )
    if have in (2, 4):
        images = _over_white(images)
    if channels == 1:
        return images if images.shape[-3] == 1 else _grey(images)
    return images if images.shape[-3] == 3 else images.expand(*images.shape[:-3], 3, -1, -1)


def _over_white(images: Tensor) -> Tensor:
    if bool((images[..., -1, :, :] == 255).all()):
        return images[..., :-1, :, :]
    colours, opacity = images[..., :-1, :, :].int(), images[..., -1:, :, :].int()
    return ((colours * opacity + 255 * (255 - opacity) + 127) // 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """Weigh colours as Pillow does (ITU-R 601, in 1/65536), whose grey of a grey image is that image."""
    red, green, blue = (images[..., i : i + 1, :, :].int() for i in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16).to(torch.uint8)
