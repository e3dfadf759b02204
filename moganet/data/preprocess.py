"""From any image to the network's input, as `Preprocessing` describes it.

Everything works on uint8 tensors, one image or a batch, so that training, evaluation, prediction and exports share
one definition. It follows Pillow's resizing within two grey levels (mean difference below 0.007).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from moganet.config import Preprocessing
from moganet.data.channels import match_channels
from moganet.data.read import ImageLike, decode
from moganet.errors import DataError

__all__ = ["ImageLike", "decode", "match_channels", "normalize", "preprocess", "resize_and_crop"]
THIN = 16  # of an image whose longer side would become more than so many crops, only what the crop sees is resized


def target_size(have: tuple[int, int], preprocessing: Preprocessing) -> list[int]:
    """Give height and width to which images of a size (height, width) are resized before their middle is cropped."""
    height, width = preprocessing.size
    if preprocessing.crop_mode == "squash":
        return [height, width]
    # Rounded down at each step, as torchvision and timm do: one pixel more would shift the crop.
    full = [int(side / preprocessing.crop_fraction) for side in (height, width)]
    covering = 0 if full[0] * have[1] >= full[1] * have[0] else 1  # the side that is resized to its full length
    other = max(full[1 - covering], int(full[covering] * have[1 - covering] / have[covering]))
    return [full[0], other] if covering == 0 else [other, full[1]]


def resize_and_crop(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Bring uint8 images (..., C, H, W) to the described size, (..., C, h, w)."""
    height, width = preprocessing.size
    mode = InterpolationMode(preprocessing.interpolation)
    target = target_size((images.shape[-2], images.shape[-1]), preprocessing)
    try:
        if target[0] > THIN * height or target[1] > THIN * width:
            return _resize_seen(images, target, preprocessing)
        if list(images.shape[-2:]) != target:
            images = F.resize(images, target, mode, antialias=True)
        cropped: Tensor = F.center_crop(images, [height, width])
    except (RuntimeError, MemoryError, ValueError) as error:
        sides = " x ".join(str(side) for side in images.shape[:-3:-1])
        reason = str(error).partition("\n")[0][:200]
        raise DataError(f"an image of {sides} pixels can't be brought to {width} x {height}: {reason}") from None
    return cropped


def _resize_seen(images: Tensor, target: list[int], preprocessing: Preprocessing) -> Tensor:
    """Resize only the part of thin images that the middle crop of their whole, resized to `target`, would hold.

    By Pillow, which takes the part from the whole, so that the pixels are those of that crop within two grey levels.
    """
    crop, have = preprocessing.size, images.shape[-2:]
    first = [round((full - side) / 2) for full, side in zip(target, crop, strict=True)]  # as center_crop does
    scale = [size / full for size, full in zip(have, target, strict=True)]
    if preprocessing.interpolation == "nearest":
        for axis in (0, 1):
            places = ((torch.arange(crop[axis]) + first[axis]) * scale[axis]).long()
            images = images.index_select(axis - 2, places.to(images.device))
        return images
    method = Image.Resampling[preprocessing.interpolation.upper()]
    (top, bottom), (left, right) = (
        (begin * step, min((begin + side) * step, float(size)))
        for begin, side, step, size in zip(first, crop, scale, have, strict=True)
    )
    planes = []
    for plane in images.reshape(-1, *have).cpu().numpy():
        # Along the rows first, as the whole would be, since values are rounded and clipped in between.
        rows = Image.fromarray(plane).resize((crop[1], have[0]), method, (left, 0, right, have[0]))
        planes.append(np.asarray(rows.resize(crop[::-1], method, (0, top, crop[1], bottom))))
    return torch.from_numpy(np.stack(planes)).reshape(*images.shape[:-2], *crop).to(images.device)


def sized(image: ImageLike, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Read any image and bring it to size, an array uint8 (C, h, w)."""
    pixels = decode(image, preprocessing.channels, preprocessing.white_level)
    array: NDArray[np.uint8] = resize_and_crop(pixels, preprocessing).numpy()
    return array


def scaled(images: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Turn uint8 images (..., C, H, W) into floats with the described mean and standard deviation."""
    floats: NDArray[np.float32] = normalize(torch.from_numpy(images), preprocessing).numpy()
    return floats


def normalize(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Turn uint8 images (..., C, H, W) into floats with the described mean and standard deviation."""
    shape = (-1, 1, 1)
    mean = torch.tensor(preprocessing.mean, device=images.device).view(shape)
    std = torch.tensor(preprocessing.std, device=images.device).view(shape)
    # In place where it can be, since each new tensor of a batch's size costs as much as the arithmetic.
    return (images.to(torch.float32, copy=True).div_(255) - mean).div_(std)


def preprocess(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Turn uint8 images (..., C, H, W) into the network's input, float (..., C, h, w)."""
    return normalize(resize_and_crop(images, preprocessing), preprocessing)
