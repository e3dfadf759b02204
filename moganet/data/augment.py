"""Training's augmentations, on whole batches and on the network's device; each image has its own draw (kornia).

Order: crop, colour jitter, flip, affine map, normalisation, erasing; then mixup or cutmix across the batch.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import kornia.augmentation as K
import numpy as np
import torch
from timm.data import create_transform
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from moganet.config import AugmentConfig, Preprocessing
from moganet.data import resample
from moganet.data.augment_people import BoxCrop
from moganet.data.masks_coding import IGNORED
from moganet.data.preprocess import Transform, bring_to_size, each_place, normalize, resize_and_crop
from moganet.errors import ConfigError


class BatchAugment(nn.Module):
    """Augment uint8 images (B, C, H, W) into the network's input, float (B, C, h, w).

    cropped: they have had their random crop already (in a worker). placed: and all of their geometry.
    """

    def __init__(
        self, augment: AugmentConfig, preprocessing: Preprocessing, *, cropped: bool = False, placed: bool = False
    ) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.resizes = augment.crop != "resized" and not cropped
        self.geometry = nn.Sequential(*([] if placed else _crops(augment, preprocessing, cropped)))
        colours = [] if augment.auto_augment else _colours(augment, preprocessing.channels)
        self.photometry = nn.Sequential(*colours, *([] if augment.auto_augment or placed else _moves(augment)))
        self.erasing = K.RandomErasing(p=augment.erasing) if augment.erasing else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        images = resize_and_crop(images, self.preprocessing) if self.resizes else images
        pixels = self.photometry(self.geometry(images.float() / 255))
        augmented: Tensor = self.erasing(normalize(pixels * 255, self.preprocessing))
        return augmented


class RandomCropToSize:
    """Crop one uint8 image (C, H, W) to the input's size in a worker, so that images of any size form a batch.

    placed: flip and move it too, and what lies in it (tv_tensors) by the same draws. empty: what masks hold where
    nothing of the image lies.
    """

    def __init__(
        self, augment: AugmentConfig, preprocessing: Preprocessing, *, placed: bool = False, empty: int = IGNORED
    ) -> None:
        self.preprocessing, self.resizes = preprocessing, augment.crop != "resized"
        self.moves: list[nn.Module] = [v2.RandomHorizontalFlip(augment.hflip)] if placed else []
        if augment.crop == "resized":
            mode = v2.InterpolationMode(preprocessing.interpolation)
            crop = v2.RandomResizedCrop(preprocessing.size, augment.scale, augment.ratio, mode, antialias=True)
            self.moves.append(crop)
        elif augment.crop == "pad" and placed:
            self.moves.append(v2.RandomCrop(preprocessing.size, padding=augment.pad, padding_mode="reflect"))
        if placed and (affine := _affine(augment)):
            self.moves.append(v2.RandomAffine(*affine, fill=_fill(preprocessing, empty)))
        self.moves += _distortion(augment, preprocessing.channels)

    def __call__(self, image: Tensor, target: Any) -> tuple[Tensor, Any]:
        if self.resizes:
            image, target = bring_to_size(image, target, self.preprocessing)
        for move in self.moves:
            image, target = move(tv_tensors.Image(image), target)
        return image.as_subclass(Tensor), target


class ScaledCrop:
    """Resize an image by a random factor, and take a random part of it, with what is marked in it, by the same draws.

    What is smaller than the part is filled up with the mean colour, which is zero to the network, and in masks with
    pixels of no class. The part is drawn anew, up to ten times, where one class has too much of it.
    """

    TRIES = 10

    def __init__(self, augment: AugmentConfig, preprocessing: Preprocessing, *, empty: int = IGNORED) -> None:
        self.augment, self.preprocessing, self.fill = augment, preprocessing, _fill(preprocessing, empty)
        self.size = augment.crop_size or preprocessing.size
        self.moves = moves_of(augment.changed(zoom=(1.0, 1.0)), preprocessing, empty=empty)

    def __call__(self, image: Tensor, target: Any) -> tuple[Tensor, Any]:
        low, high = self.augment.zoom
        factor = low + (high - low) * float(torch.rand(()))
        base = resample.base_size((image.shape[-2], image.shape[-1]), self.preprocessing)
        full = [max(1, round(side * factor)) for side in base]
        mode = v2.InterpolationMode(self.preprocessing.interpolation)
        image = F.resize(tv_tensors.Image(image), full, mode, antialias=self.preprocessing.antialias)
        image, target = self._cropped(image, each_place(target, lambda place: F.resize(place, full)))
        for move in self.moves:
            image, target = move(image, target)
        return image.as_subclass(Tensor), target

    def _cropped(self, image: Tensor, target: Any) -> tuple[Tensor, Any]:
        have = image.shape[-2:]
        seen = [min(sides) for sides in zip(have, self.size, strict=True)]
        rest = [want - one for want, one in zip(self.size, seen, strict=True)]
        filling = v2.Pad([0, 0, rest[1], rest[0]], fill=self.fill)
        for _ in range(self.TRIES):
            box = [*(int(torch.randint(whole - one + 1, ())) for whole, one in zip(have, seen, strict=True)), *seen]
            part = each_place(target, partial(_cut, box=box))
            if self.augment.max_share >= 1 or not isinstance(part, tv_tensors.Mask) or self._is_mixed(part):
                break
        image = tv_tensors.Image(F.crop(image, *box))
        return filling(image, part) if any(rest) else (image, part)

    def _is_mixed(self, mask: Tensor) -> bool:
        counts = torch.bincount(mask[mask != IGNORED].long())
        return int((counts > 0).sum()) > 1 and float(counts.max()) < self.augment.max_share * float(counts.sum())


def _cut(place: Any, box: list[int]) -> Any:
    return F.crop(place, *box)


def moves_of(augment: AugmentConfig, preprocessing: Preprocessing, *, empty: int) -> list[nn.Module]:
    """Give what moves, mirrors and distorts an image with what is marked in it; `empty` fills masks up."""
    affine = [v2.RandomAffine(*how, fill=_fill(preprocessing, empty))] if (how := _affine(augment)) else []
    return [*affine, v2.RandomHorizontalFlip(augment.hflip), *_distortion(augment, preprocessing.channels)]


def _fill(preprocessing: Preprocessing, empty: int) -> dict[Any, Any]:
    """Give what images and masks are filled up with where nothing of them lies."""
    return {tv_tensors.Mask: empty, tv_tensors.Image: [round(255 * value) for value in preprocessing.mean]}


def _distortion(augment: AugmentConfig, channels: int) -> list[nn.Module]:
    """Give the changes of colour of one image at a time, each of which comes as often as `distort` says."""
    if not augment.distort:
        return []
    if channels != 3:
        raise ConfigError(f"augment.distort needs colour images; preprocessing.channels is {channels}")
    return [v2.RandomPhotometricDistort(p=augment.distort)]


class PolicyTransform:
    """Augment one uint8 image (C, H, W) in a worker by timm's transforms: crop, flip, jitter and a named policy."""

    def __init__(self, augment: AugmentConfig, preprocessing: Preprocessing) -> None:
        if preprocessing.channels != 3:
            have = f"preprocessing.channels is {preprocessing.channels}"
            raise ConfigError(f"augment.auto_augment needs colour images; {have}")
        resized = augment.crop == "resized"
        try:
            self.transform = create_transform(
                preprocessing.size,
                is_training=True,
                use_prefetcher=True,  # uint8 comes out; normalisation is the device's work
                scale=augment.scale if resized else (1.0, 1.0),
                ratio=augment.ratio if resized else (1.0, 1.0),
                train_crop_mode="rrc",
                hflip=augment.hflip,
                color_jitter=augment.color_jitter if any(augment.color_jitter) else None,
                auto_augment=augment.auto_augment,
                interpolation=preprocessing.interpolation,
                mean=preprocessing.mean,
            )
        except (AssertionError, ValueError, KeyError) as error:
            what = f"augment.auto_augment {augment.auto_augment!r} is no policy of timm's"
            raise ConfigError(f"{what} ({error})") from None
        self.plain = None if resized else preprocessing

    def __call__(self, image: Tensor, target: Any) -> tuple[Tensor, Any]:
        if self.plain is not None:
            image = resize_and_crop(image, self.plain)
        return torch.from_numpy(np.ascontiguousarray(self.transform(F.to_pil_image(image)))), target


def worker_transform(augment: AugmentConfig, preprocessing: Preprocessing, *, placed: bool) -> Transform:
    """Make what a worker does to an image: a policy where there is one, else the crop alone.

    placed: targets lie in the image; then all of its geometry is done here. Raises ConfigError for a policy then, and
    for images that would not be of one size.
    """
    if placed and augment.auto_augment:
        raise ConfigError(f"augment.auto_augment {augment.auto_augment!r} moves the image and not what is marked in it")
    if preprocessing.crop_mode == "box":
        if augment.crop != "none":
            raise ConfigError(f"augment.crop {augment.crop} would not follow the boxes; leave it at none")
        return BoxCrop(augment, preprocessing)
    if augment.auto_augment:
        return PolicyTransform(augment, preprocessing)
    if augment.crop == "scaled":
        if not placed:
            raise ConfigError("augment.crop scaled is for images in which something is marked, say masks; use resized")
        return ScaledCrop(augment, preprocessing)
    if not preprocessing.one_size:
        mode = preprocessing.crop_mode
        raise ConfigError(
            f"preprocessing.crop_mode is {mode!r}, so that images differ in size; use augment.crop=scaled"
        )
    return RandomCropToSize(augment, preprocessing, placed=placed)


class Turns:
    """Mirror each image in every second epoch: in the even ones or in the odd ones, as is drawn once for each.

    Source: Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, arXiv 2404.00498, section 3.6.
    """

    def __init__(self, num_images: int, seed: int) -> None:
        self.odd = torch.rand(num_images, generator=torch.Generator().manual_seed(seed)) < 0.5

    def __call__(self, images: Tensor, places: Sequence[int], epoch: int) -> Tensor:
        """Give images (B, C, H, W), of which these are the places in their split, as this epoch sees them."""
        mirrored = (self.odd[list(places)] ^ bool(epoch % 2)).to(images.device)
        return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


class Mix:
    """Blend images and targets across a batch: mixup or cutmix, one of the two a batch where both are set.

    Targets are classes (B,) or rows of 0 and 1 (B, num_classes), and become soft rows (B, num_classes); without either,
    and in batches that mix_prob spares, images and targets stay as they are.
    """

    def __init__(self, augment: AugmentConfig, num_classes: int) -> None:
        kinds = ((v2.MixUp, augment.mixup), (v2.CutMix, augment.cutmix))
        mixes = [kind(alpha=alpha, num_classes=num_classes) for kind, alpha in kinds if alpha]
        self.mix = v2.RandomChoice(mixes) if mixes else None
        self.probability = augment.mix_prob

    def __call__(self, images: Tensor, targets: Any) -> tuple[Tensor, Any]:
        if self.mix is None or (self.probability < 1 and float(torch.rand(())) >= self.probability):
            return images, targets
        mixed: tuple[Tensor, Tensor] = self.mix(images, targets)
        return mixed


def _crops(augment: AugmentConfig, preprocessing: Preprocessing, cropped: bool) -> list[nn.Module]:
    if augment.crop == "pad":
        return [K.RandomCrop(preprocessing.size, padding=augment.pad, padding_mode="reflect")]
    if augment.crop == "resized" and not cropped:
        how = {"resample": preprocessing.interpolation, "cropping_mode": "resample"}
        return [K.RandomResizedCrop(preprocessing.size, augment.scale, augment.ratio, **how)]
    return []


def _colours(augment: AugmentConfig, channels: int) -> list[nn.Module]:
    brightness, contrast, saturation = augment.color_jitter
    if not any(augment.color_jitter):
        return []
    return [K.ColorJitter(brightness, contrast, saturation if channels == 3 else 0.0, p=1.0)]


def _moves(augment: AugmentConfig) -> list[nn.Module]:
    flips = [K.RandomHorizontalFlip(augment.hflip)] if augment.hflip and not augment.hflip_by_turns else []
    affine = _affine(augment)
    return [*flips, K.RandomAffine(*affine, p=1.0)] if affine else flips


def _affine(augment: AugmentConfig) -> tuple[Any, ...]:
    """Give angle, shift and zoom; nothing where nothing is moved."""
    if not (augment.rotation or augment.translate or augment.zoom != (1.0, 1.0)):
        return ()
    return augment.rotation, (augment.translate, augment.translate) if augment.translate else None, augment.zoom
