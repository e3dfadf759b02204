"""What a split's images are like before any network sees them: their sizes, their hashes, and thumbnails."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional as F

from moganet.data.contents import ImageFile
from moganet.data.duplicates import Hashes, hash_images
from moganet.data.source import ArraySplit, Split, spread

HASHED_SIDE = 64  # pixels to which a JPEG file may be decoded at once, for speed


@dataclass(frozen=True)
class Survey:
    """What n readable images are like. places: (n,), where they stand in the split. sizes: (n, 2), width and height."""

    places: np.ndarray
    sizes: np.ndarray
    hashes: Hashes


def survey(split: Split, max_files: int) -> Survey:
    """Measure and hash a split's images: all in memory, of files at most so many, evenly spread."""
    if isinstance(split, ArraySplit):
        height, width = split.images.shape[-2:]
        return Survey(np.arange(len(split)), np.tile([width, height], (len(split), 1)), hash_images(split.images))
    indices = spread(len(split), max_files)
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda i: _measure(split.files[i]), indices))
    read = [(index, *result) for index, result in zip(indices, results, strict=True) if result is not None]
    sizes = np.array([size for _, size, _ in read], dtype=int).reshape(-1, 2)
    return Survey(np.array([index for index, _, _ in read], int), sizes, Hashes.join([h for _, _, h in read]))


def _measure(path: ImageFile) -> tuple[tuple[int, int], Hashes] | None:
    try:
        with Image.open(io.BytesIO(path) if isinstance(path, bytes) else path) as image:
            size = image.size
            image.draft("L", (HASHED_SIDE, HASHED_SIDE))
            pixels = np.array(ImageOps.exif_transpose(image).convert("L"))
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError):
        return None  # it is named as unreadable where the network's images are read
    return size, hash_images(torch.from_numpy(pixels)[None, None])


def thumbnails(split: Split, indices: Sequence[int], side: int) -> list[np.ndarray]:
    """Give images as uint8 (side, side, 3), the middle of those that are no squares."""
    if isinstance(split, ArraySplit):
        return [_of_array(split.images[index], side) for index in indices]
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda i: _of_file(split.files[i], side), indices))


def _of_array(image: torch.Tensor, side: int) -> np.ndarray:
    image = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
    if image.shape[-2:] != (side, side):
        image = F.center_crop(image, [min(image.shape[-2:])] * 2)
        image = F.resize(image, [side, side], antialias=True)
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def _of_file(path: ImageFile, side: int) -> np.ndarray:
    with Image.open(io.BytesIO(path) if isinstance(path, bytes) else path) as image:
        image.draft("RGB", (2 * side, 2 * side))
        whole = ImageOps.exif_transpose(image)
        if whole.mode in ("RGBA", "LA", "PA") or "transparency" in whole.info:
            whole = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole.convert("RGBA"))
        return np.array(ImageOps.fit(whole.convert("RGB"), (side, side)))
