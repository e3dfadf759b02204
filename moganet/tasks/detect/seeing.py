"""How a detector sees an image of any size: brought to its size, in the top left corner of zeros; numpy."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moganet.config import Preprocessing
from moganet.data.resample import normalize, resize_and_crop
from moganet.tasks.detect.pasting import paste
from moganet.tasks.task import Array, Outputs

Ask = Callable[..., Outputs]  # preprocessed images (B, C, h, w), and their sizes before they were padded
DIVISOR = 32  # of both sides, after zeros were put on the right and below


def padded(images: Any) -> Any:
    """Put zeros right of and below preprocessed images (…, h, w), arrays or tensors, up to the next multiples."""
    height, width = (-side % DIVISOR for side in images.shape[-2:])
    if not isinstance(images, np.ndarray):
        from torch.nn.functional import pad

        return pad(images, (0, width, 0, height))
    return np.pad(images, (*[(0, 0)] * (images.ndim - 2), (0, height), (0, width)))


def look(pixels: NDArray[np.uint8], ask: Ask, preprocessing: Preprocessing) -> dict[str, Array]:
    """Find what one image (C, H, W) shows, in its own pixels; "size" (1, 2) is its height and width."""
    sized = resize_and_crop(pixels, preprocessing)
    size, own = sized.shape[-2:], pixels.shape[-2:]
    found = ask(padded(normalize(sized[None], preprocessing)), [size])
    return {**to_own_pixels(found, [size], [own]), "size": np.array([own])}


def to_own_pixels(found: Mapping[str, Any], sizes: Sequence[Any], own: Sequence[Any]) -> dict[str, Any]:
    """Give what was found (B, K, …) in the pixels that the images had before they were brought to the network's size.

    sizes: height and width of each image, without padding, as the network saw it. own: as they were before.
    """
    boxes = found["boxes"]
    if isinstance(boxes, np.ndarray):
        factors: Any = np.array(own, np.float32) / np.array(sizes, np.float32)
        return {**found, "boxes": boxes * np.tile(factors[:, ::-1], 2)[:, None].astype(boxes.dtype)}
    factors = boxes.new_tensor(own) / boxes.new_tensor(sizes)
    return {**found, "boxes": boxes * factors.flip(1).repeat(1, 2)[:, None]}


def found_at(outputs: Mapping[str, Any], place: int) -> dict[str, NDArray[Any]]:
    """Give what was found in an image of a batch, without what is filled up behind it."""
    number = int((outputs["labels"][place] >= 0).sum())
    return {name: values[place, :number] for name, values in outputs.items() if name != "size"}


def found_things(outputs: Mapping[str, Any], sizes: Sequence[tuple[int, int]]) -> list[dict[str, NDArray[Any]]]:
    """Give each image's things, without what was filled up behind them; masks (N, height, width) of its size."""
    things = []
    for i, size in enumerate(sizes):
        one = found_at(outputs, i)
        things.append({**one, "masks": paste(one["masks"], one["boxes"], size)} if "masks" in one else one)
    return things
