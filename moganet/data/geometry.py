"""The same geometry for an image and what lies in it: torchvision's tv_tensors (boxes, masks, points) go along.

A target that lies nowhere, as a class does, is left as it is.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from moganet.config import Preprocessing
from moganet.data.preprocess import resize_and_crop
from moganet.data.resample import target_size

Transform = Callable[[Tensor, Any], tuple[Tensor, Any]]  # an image uint8 (C, H, W), and its target


def bring_to_size(image: Tensor, target: Any, preprocessing: Preprocessing) -> tuple[Tensor, Any]:
    """Bring an image to the described size, and what lies in it to where it is then."""
    whole = target_size((image.shape[-2], image.shape[-1]), preprocessing)
    sized = resize_and_crop(image, preprocessing)
    return sized, each_place(target, lambda place: F.center_crop(F.resize(place, whole), [*preprocessing.size]))


def each_place(target: Any, move: Callable[[Any], Any]) -> Any:
    """Apply a function to each tv_tensor of a target: one, or the values of a dict."""
    if isinstance(target, tv_tensors.TVTensor):
        return move(target)
    return {key: each_place(part, move) for key, part in target.items()} if isinstance(target, dict) else target
