"""From any image to the network's input, as `Preprocessing` describes it.

Everything works on uint8 tensors, one image or a batch, so that training, evaluation, prediction and exports share
one definition. It follows Pillow's resizing within two grey levels (mean difference below 0.007).
"""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from moganet.config import Preprocessing
from moganet.errors import DataError

ImageLike = Image.Image | np.ndarray | Tensor | str | Path | bytes
_MODES = {1: "L", 3: "RGB"}


def decode(image: ImageLike, channels: int = 3) -> Tensor:
    """Give an image as uint8 (C, H, W).

    image: a path, a PIL image, an array (H, W) or (H, W, C), uint8 or floats in 0..1, or a uint8 tensor (C, H, W).
    Raises DataError for what can't be read.
    """
    if isinstance(image, bytes):
        return _read_file(image, channels)
    if isinstance(image, str | Path):
        return _read_file(Path(image), channels)
    if isinstance(image, Image.Image):
        return _from_pil(image, channels)
    if isinstance(image, Tensor):
        if image.dtype != torch.uint8 or image.ndim != 3:
            raise DataError(f"a tensor image must be uint8 (C, H, W), not {image.dtype} {tuple(image.shape)}")
        return match_channels(image, channels)
    array = np.asarray(image)
    if array.ndim not in (2, 3) or array.size == 0 or (array.dtype != np.uint8 and array.dtype.kind != "f"):
        raise DataError(
            f"an array image must be (H, W) or (H, W, C), uint8 or floats in 0..1, not {array.dtype} {array.shape}"
        )
    if array.dtype != np.uint8:
        if not (array.min() >= 0 and array.max() <= 1):
            raise DataError(f"a float image must lie in 0..1; this one spans {array.min():g} to {array.max():g}")
        array = np.round(array * 255).astype(np.uint8)
    array = array[..., None] if array.ndim == 2 else array
    return match_channels(torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))), channels)


def resize_and_crop(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Bring uint8 images (..., C, H, W) to the described size, (..., C, h, w)."""
    height, width = preprocessing.size
    mode = InterpolationMode(preprocessing.interpolation)
    if preprocessing.crop_mode == "squash":
        target = [height, width]
    else:
        # Rounded down at each step, as torchvision and timm do: one pixel more would shift the crop.
        full = [int(side / preprocessing.crop_fraction) for side in (height, width)]
        have = images.shape[-2:]
        covering = 0 if full[0] * have[1] >= full[1] * have[0] else 1  # the side that is resized to its full length
        other = max(full[1 - covering], int(full[covering] * have[1 - covering] / have[covering]))
        target = [full[0], other] if covering == 0 else [other, full[1]]
    if list(images.shape[-2:]) != target:
        images = F.resize(images, target, mode, antialias=True)
    cropped: Tensor = F.center_crop(images, [height, width])
    return cropped


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


def _read_file(path: Path | bytes, channels: int) -> Tensor:
    try:
        with Image.open(io.BytesIO(path) if isinstance(path, bytes) else path) as image:
            return _from_pil(image, channels)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise DataError(f"can't open {path!s}: {error.strerror}") from None
    except UnidentifiedImageError:
        raise DataError(f"{path!s} is not an image that Pillow can read") from None
    except Image.DecompressionBombError:
        raise DataError(
            f"{path!s} has more pixels than Pillow's limit of {2 * (Image.MAX_IMAGE_PIXELS or 0):,}; scale it down"
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        if isinstance(error, DataError):
            raise DataError(f"{path!s}: {error}") from None
        raise DataError(f"{path!s} can't be decoded: {error}") from None


def _from_pil(image: Image.Image, channels: int) -> Tensor:
    mode = _MODES.get(channels)
    if mode is None:
        raise DataError(f"a network of {channels} channels reads arrays (H, W, {channels}), not image files")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        image = Image.fromarray(_to_8_bit(np.asarray(image)))
    elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        opaque = Image.new("RGBA", image.size, "white")  # what is transparent shows the page, not hidden colours
        image = Image.alpha_composite(opaque, image.convert("RGBA"))
    array = np.array(image.convert(mode))
    array = array[..., None] if array.ndim == 2 else array
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    """Scale a deep grey image by what its type and range say its white is: 1, 255 or 65535."""
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f":
        white = 1.0 if high <= 1 else 255.0
    else:
        white = 255.0 if values.dtype.itemsize > 2 and high <= 255 else 65535.0
    if not (low >= 0 and high <= white):
        raise DataError(f"a deep grey image must lie in 0..1, 0..255 or 0..65535; this one spans {low:g} to {high:g}")
    scaled: np.ndarray = np.round(values * (255 / white)).astype(np.uint8)
    return scaled


def match_channels(images: Tensor, channels: int) -> Tensor:
    """Bring uint8 images (..., C, H, W) to the network's channels: grey to colour and back, opacity left out.

    Raises DataError for channels that have no such meaning.
    """
    have = images.shape[-3]
    if have == channels:
        return images
    if channels == 3 and have == 1:
        return images.expand(*images.shape[:-3], 3, -1, -1)
    if channels == 3 and have == 4:
        return images[..., :3, :, :]
    if channels == 1 and have in (3, 4):
        grey: Tensor = F.rgb_to_grayscale(images[..., :3, :, :])
        return grey
    raise DataError(f"the image has {have} channels; the network reads {channels}")
