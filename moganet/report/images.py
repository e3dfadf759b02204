"""What a data set's images are like, as a section of the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moganet.numbers import percent
from moganet.report.page import Section, Shown

EVEN = 1.2  # the largest class against the smallest, up to which classes count as balanced


@dataclass(frozen=True)
class Images:
    """Class counts (K,) by split, none without classes; sizes (N, 2); copies by pairs of splits; what was left out."""

    counts: Mapping[str, np.ndarray]
    sizes: np.ndarray
    network_size: tuple[int, int]
    copies: Mapping[tuple[str, str], int]
    pairs: Sequence[tuple[Shown, Shown]] = ()
    note: str = ""
    class_names: Sequence[str] = ()


def images_section(images: Images) -> Section:
    """Show balance, sizes and near-copies."""
    balance = [say_balance(images.counts)] if images.counts else []
    findings = [*balance, say_sizes(images.sizes, images.network_size), say_copies(images.copies)]
    return Section("Data", findings[0], "moganet.report/images.html", {"images": images, "findings": findings[1:]})


def say_balance(counts: Mapping[str, np.ndarray]) -> str:
    """Say how evenly the classes are filled, in the largest split."""
    name = max(counts, key=lambda split: int(counts[split].sum()))
    low, high = int(counts[name].min()), int(counts[name].max())
    if high <= EVEN * low:
        return f"The classes are balanced: {f'{low:,} to ' if low < high else ''}{high:,} images each ({name})"
    if not low:
        return f"The classes are not balanced: up to {high:,} images, and {(counts[name] == 0).sum()} without ({name})"
    return f"The classes are not balanced: the largest has {high / low:.1f} times the images of the smallest ({name})"


def say_sizes(sizes: np.ndarray, network: tuple[int, int]) -> str:
    """Say how large images are, sizes (N, 2) as width and height, against the network's (height, width)."""
    if not len(sizes):
        return "No image could be read"
    low, high = sizes[sizes.prod(1).argmin()], sizes[sizes.prod(1).argmax()]
    what = f"the network sees {network[1]}×{network[0]}"
    if (low == high).all():
        return f"All images have {low[0]}×{low[1]} pixels; {what}"
    smaller = float((sizes.min(1) < min(network)).mean())
    text = f"Images have {low[0]}×{low[1]} to {high[0]}×{high[1]} pixels; {what}"
    return text + (f", and {percent(smaller, 0)} are smaller" if smaller else "")


def say_copies(copies: Mapping[tuple[str, str], int]) -> str:
    """Say how many images stand, nearly equal, in two splits; copies maps (first, second) to a number."""
    found = [f"{number:,} of {second} in {first}" for (first, second), number in copies.items() if number]
    return "Near-copies across splits: " + ", ".join(found) if found else "No image has a near-copy in another split"
