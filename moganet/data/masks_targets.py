"""The targets of images that have a mask each: classes of pixels, read when they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors

from moganet.data.contents import hash_bytes, hash_files
from moganet.data.masks_coding import Coding, Colour, Labels
from moganet.data.masks_read import MaskFile, SegmentsMask, read_raw
from moganet.data.targets import Targets
from moganet.data.within import Within
from moganet.errors import DataError, UnreachableError
from moganet.numbers import percent

SHOWN = 4  # classes, in a line on a mask
Size = tuple[int, int]  # width, height


@dataclass(frozen=True)
class MaskTargets(Targets):
    """A mask an image, int16 (H, W) of classes, IGNORED where a pixel has none.

    pixels: how many pixels of each class each mask has (N, classes). resized: the size to which a mask is brought, by
    the nearest pixel, where its own is another than its image's. colours: one a class.
    """

    files: tuple[MaskFile, ...]
    coding: Coding
    pixels: NDArray[np.int64]
    resized: tuple[Size | None, ...]
    colours: tuple[Colour, ...] = ()
    hashes: dict[MaskFile, bytes] = field(default_factory=dict, repr=False, compare=False)  # contents; parts share it
    have_places: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tv_tensors.Mask:
        try:
            labels = self.coding.labels(read_raw(self.files[index]), str(self.files[index]))
        except UnreachableError:  # which is no fault of the mask
            raise
        except ValueError as error:
            raise DataError(str(error)) from None
        return tv_tensors.Mask(torch.from_numpy(_brought_to(labels, self.resized[index])))

    def subset(self, indices: Sequence[int]) -> Self:
        files, resized = tuple(self.files[i] for i in indices), tuple(self.resized[i] for i in indices)
        return replace(self, files=files, resized=resized, pixels=self.pixels[np.asarray(indices, int)])

    def joined(self, others: Sequence[Self]) -> Self:
        every = (self, *others)
        return replace(
            self,
            files=tuple(file for one in every for file in one.files),
            resized=tuple(size for one in every for size in one.resized),
            pixels=np.concatenate([one.pixels for one in every]),
        )

    def mapped(self, order: Sequence[int], number: int) -> Self:
        pixels = np.zeros((len(self), number), np.int64)
        for own, place in enumerate(order):
            if place >= 0:
                pixels[:, place] += self.pixels[:, own]
        return replace(self, coding=self.coding.mapped(order), pixels=pixels, colours=())

    def stack(self, targets: Sequence[Tensor]) -> Any:
        """Give masks as one tensor (B, H, W), or as a list where their sizes differ."""
        plain = [target.as_subclass(Tensor) for target in targets]
        same = len({target.shape for target in plain}) == 1
        return torch.stack(plain) if same else plain

    def strata(self) -> NDArray[np.int64]:
        return (self.pixels > 0).astype(np.int64)

    def known(self) -> NDArray[np.bool_]:
        return np.asarray(self.pixels.any(1))

    def identity(self) -> bytes:
        return b"".join(self._contents())

    def _contents(self) -> list[bytes]:
        unknown = [file for file in dict.fromkeys(self.files) if file not in self.hashes]
        on_disk = [file for file in unknown if isinstance(file, Path | Within)]
        self.hashes.update(zip(on_disk, hash_files(on_disk), strict=True))
        for file in unknown:
            if isinstance(file, SegmentsMask):
                self.hashes[file] = hash_bytes(hash_files([file.file])[0] + repr((file.values, file.empty)).encode())
            elif not isinstance(file, Path | Within):
                self.hashes[file] = hash_bytes(repr(replace(file, name="")).encode() + repr(file.shapes).encode())
        coding = repr((self.coding.values, self.coding.classes, self.coding.coloured)).encode()
        return [hash_bytes(self.hashes[file] + coding) for file in self.files]

    def text(self, index: int, class_names: Sequence[str]) -> str:
        order = np.argsort(-self.pixels[index], kind="stable")
        total = max(1, int(self.pixels[index].sum()))
        shown = [f"{class_names[i]} {percent(self.pixels[index, i] / total, 0)}" for i in order[:SHOWN].tolist()]
        present = [text for text, i in zip(shown, order, strict=False) if self.pixels[index, i]]
        more = "" if (self.pixels[index] > 0).sum() <= SHOWN else ", …"
        return f"{', '.join(present) or 'nothing'}{more} (mask {self._contents()[index].hex()[:6]})"

    def areas(self) -> NDArray[np.int64]:
        return np.asarray(self.pixels.sum(0))


def _brought_to(labels: Labels, size: Size | None) -> Labels:
    if size is None or size == (labels.shape[1], labels.shape[0]):
        return labels
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.int64).clip(0, old - 1)
        for new, old in zip(reversed(size), labels.shape, strict=True)
    )
    return np.ascontiguousarray(labels[rows[:, None], columns])
