"""From any image to the network's input, as `Preprocessing` describes it.

Everything works on uint8 tensors, one image or a batch, so that training, evaluation, prediction and exports share
one definition; `resample` is the same without torch. It follows Pillow's resizing within two grey levels (mean
difference below 0.007).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from moganet.config import Preprocessing
from moganet.data import channels as array_channels
from moganet.data import resample
from moganet.data.read import ImageLike, read_pixels

__all__ = ["ImageLike", "decode", "match_channels", "normalize", "preprocess", "resize_and_crop"]


def decode(image: ImageLike, channels: int = 3, white_level: float | None = None) -> Tensor:
    """Give an image as uint8 (C, H, W), and say what was taken for what, as `read_pixels` does."""
    return torch.from_numpy(read_pixels(image, channels, white_level))


def match_channels(images: Tensor, channels: int) -> Tensor:
    """Bring uint8 images (..., C, H, W) to the network's channels, as for arrays."""
    return torch.from_numpy(array_channels.match_channels(images.cpu().numpy(), channels)).to(images.device)


def resize_and_crop(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Bring uint8 images (..., C, H, W) to the described size, (..., C, h, w)."""
    have, crop = (images.shape[-2], images.shape[-1]), preprocessing.size
    full = resample.target_size(have, preprocessing)
    try:
        if resample.is_thin(full, crop):
            return torch.from_numpy(resample.resize_seen(images.cpu().numpy(), full, preprocessing)).to(images.device)
        if list(have) != full:
            mode = InterpolationMode(preprocessing.interpolation)
            images = F.resize(images, full, mode, antialias=True)
        cropped: Tensor = F.center_crop(images, list(crop))
    except (RuntimeError, MemoryError, ValueError) as error:
        raise resample.not_resized(images.shape, preprocessing, error) from None
    return cropped


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
