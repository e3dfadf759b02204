"""How a segmenter sees an image of any size: whole, by windows that overlap, or by tiles in constant memory; numpy.

Windows are averaged where they overlap, as mmsegmentation's sliding ones. Where the logits of all pixels would need
too much memory, tiles are answered for one by one instead, each with its surroundings, of which nothing is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moganet.config import Preprocessing
from moganet.data.resample import normalize, resize_and_crop
from moganet.tasks.segment.description import SegmentDescription
from moganet.tasks.segment.labels import Labels, labels_of, type_of
from moganet.tasks.task import Array, Outputs
from moganet.tasks.windows import Window, windows

MOST_NUMBERS = 1 << 28  # float32 numbers of logits that are held at a time: 1 GiB
MOST_PIXELS = 2048 * 2048  # that go through a network at once, where no window is described
SURROUNDINGS = 4  # a tile's own part begins at this share of its side
Ask = Callable[[Array], Outputs]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Eye:
    """A network and how it is asked: `ask` gives its outputs for preprocessed images (B, C, h, w)."""

    ask: Ask
    description: SegmentDescription
    preprocessing: Preprocessing

    def see(self, pixels: Pixels) -> dict[str, NDArray[Any]]:
        """Give the "logits" (1, classes, h, w) of an image (C, H, W), or the "labels" (1, H, W) of a very large one.

        "size" (1, 2) is the image's own height and width.
        """
        sized = resize_and_crop(pixels, self.preprocessing)
        size = np.array([pixels.shape[-2:]])
        window, classes = self._window(sized), max(1, len(self.description.class_names))
        height, width = sized.shape[-2:]
        if window is None:
            return {"logits": self.logits(sized), "size": size}
        if height * width * classes <= MOST_NUMBERS:
            return {"logits": self._averaged(sized, window), "size": size}
        labels = self._tiled(sized, window)
        return {"labels": nearest(labels, (pixels.shape[-2], pixels.shape[-1]))[None], "size": size}

    def logits(self, sized: Pixels) -> Array:
        """Give the logits (1, classes, h, w) of an image, or a part of it, that has the network's size."""
        x = normalize(sized[None], self.preprocessing)
        logits: Array = self.ask(x)["logits"]
        return logits

    def _window(self, sized: Pixels) -> Window | None:
        """Give the window to look through; None where the image is small enough to be seen at once."""
        height, width = sized.shape[-2:]
        chosen = self.description.window
        if chosen is None:
            if height * width <= MOST_PIXELS:
                return None
            side = min(1024, *self.preprocessing.size) if self.preprocessing.crop_mode == "keep" else 1024
            chosen = Window(size=(side, side), stride=(side * 2 // 3, side * 2 // 3))
        return chosen if height > chosen.size[0] or width > chosen.size[1] else None

    def _averaged(self, sized: Pixels, window: Window) -> Array:
        total: Array | None = None
        counts = np.zeros(sized.shape[-2:], np.float32)
        for rows, columns in windows((sized.shape[-2], sized.shape[-1]), window):
            logits = self.logits(np.ascontiguousarray(sized[:, rows, columns]))
            if total is None:
                total = np.zeros((1, logits.shape[1], *sized.shape[-2:]), np.float32)
            total[..., rows, columns] += logits
            counts[rows, columns] += 1
        assert total is not None
        total /= counts
        return total

    def _tiled(self, sized: Pixels, window: Window) -> Labels:
        height, width = sized.shape[-2:]
        labels = np.empty((height, width), type_of(len(self.description.class_names)))
        steps = tuple(max(1, side - 2 * (side // SURROUNDINGS)) for side in window.size)
        halves = Window(size=window.size, stride=(min(steps[0], window.size[0]), min(steps[1], window.size[1])))
        for rows, columns in windows((height, width), halves):
            logits = self.logits(np.ascontiguousarray(sized[:, rows, columns]))[0]
            found = labels_of(logits, (logits.shape[1], logits.shape[2]))
            own = [
                _own(part, side, step) for part, side, step in zip((rows, columns), (height, width), steps, strict=True)
            ]
            inner = tuple(slice(o.start - p.start, o.stop - p.start) for o, p in zip(own, (rows, columns), strict=True))
            labels[own[0], own[1]] = found[inner[0], inner[1]]
        return labels


def _own(part: slice, side: int, step: int) -> slice:
    """Give what of a tile's rows, or columns, is its own: its middle, and up to the image's edges all of it."""
    around = (part.stop - part.start - step) // 2
    start = part.start if part.start == 0 else part.start + around
    return slice(start, part.stop if part.stop == side else part.stop - around)


def nearest(labels: Labels, size: tuple[int, int]) -> Labels:
    """Bring labels (H, W) to a size by the nearest pixel."""
    if labels.shape == size:
        return labels
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.int64).clip(0, old - 1)
        for new, old in zip(size, labels.shape, strict=True)
    )
    return np.asarray(labels[rows[:, None], columns])


def softmax(logits: Array) -> Array:
    """Give the shares of classes (B, classes, h, w)."""
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shares / shares.sum(1, keepdims=True))
