"""From any image, and what is marked in it, to the network's input, as `Preprocessing` describes it.

All work on uint8 tensors, one image or a batch, which are resized as Pillow does it (`resample`). On a GPU
torch does it, which follows Pillow within two grey levels (mean difference below 0.007).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from moganet.config import Preprocessing
from moganet.data import channels as array_channels
from moganet.data import resample
from moganet.data.read import ImageLike, read_pixels

# Pillow takes the pixel in whose middle the new one's lies.
MODES = {mode.value: mode for mode in InterpolationMode} | {"nearest": InterpolationMode.NEAREST_EXACT}
Transform = Callable[[Tensor, Any], tuple[Tensor, Any]]  # an image uint8 (C, H, W), and its target


def decode(image: ImageLike, channels: int | None = 3, white_level: float | None = None) -> Tensor:
    """Give an image as uint8 (C, H, W), and say what was taken for what, as `read_pixels` does."""
    return torch.from_numpy(read_pixels(image, channels, white_level))


def match_channels(images: Tensor, channels: int) -> Tensor:
    """Bring uint8 images (..., C, H, W) to the network's channels, as for arrays."""
    return torch.from_numpy(array_channels.match_channels(images.cpu().numpy(), channels)).to(images.device)


def resize_and_crop(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Bring uint8 images (..., C, H, W) to the described size, (..., C, h, w)."""
    if images.device.type == "cpu":
        return torch.from_numpy(resample.resize_and_crop(images.numpy(), preprocessing))
    have, crop = (images.shape[-2], images.shape[-1]), preprocessing.size
    full = resample.target_size(have, preprocessing)
    if not preprocessing.one_size or preprocessing.crop_mode == "box":
        return torch.from_numpy(resample.resize_and_crop(images.cpu().numpy(), preprocessing)).to(images.device)
    try:
        if resample.is_thin(full, crop):
            return torch.from_numpy(resample.resize_seen(images.cpu().numpy(), full, preprocessing)).to(images.device)
        if list(have) != full:
            images = F.resize(images, full, MODES[preprocessing.interpolation], antialias=preprocessing.antialias)
        cropped: Tensor = F.center_crop(images, list(crop))
    except (RuntimeError, MemoryError, ValueError) as error:
        raise resample.not_resized(images.shape, preprocessing, error) from None
    return cropped


def bring_to_size(image: Tensor, target: Any, preprocessing: Preprocessing) -> tuple[Tensor, Any]:
    """Bring an image to the described size, and what lies in it (tv_tensors: boxes, masks, points) along with it."""
    whole = resample.target_size((image.shape[-2], image.shape[-1]), preprocessing)
    sized = resize_and_crop(image, preprocessing)
    seen = [sized.shape[-2], sized.shape[-1]]
    return sized, each_place(target, lambda place: F.center_crop(F.resize(place, whole), seen))


def each_place(target: Any, move: Callable[[Any], Any]) -> Any:
    """Apply a function to each tv_tensor of a target: one, or the values of a dict; a class, say, lies nowhere."""
    if isinstance(target, tv_tensors.TVTensor):
        return move(target)
    return {key: each_place(part, move) for key, part in target.items()} if isinstance(target, dict) else target


def normalize(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Turn uint8 images (..., C, H, W) into floats with the described mean and standard deviation."""
    described = (preprocessing.mean, preprocessing.std)
    mean, std = (torch.tensor(each, device=images.device).view(-1, 1, 1) for each in described)
    # In place where it can be, since each new tensor of a batch's size costs as much as the arithmetic.
    return (images.to(torch.float32, copy=True).div_(255) - mean).div_(std)


def preprocess(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Turn uint8 images (..., C, H, W) into the network's input, float (..., C, h, w)."""
    return normalize(resize_and_crop(images, preprocessing), preprocessing)
