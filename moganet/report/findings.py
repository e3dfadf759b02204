"""What a report's numbers say, as sentences: its titles and alternative texts."""

from collections.abc import Mapping, Sequence

import numpy as np

FLAT = 0.002  # a gain of accuracy that counts as none
EVEN = 1.2  # the largest class against the smallest, up to which classes count as balanced


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share as percent, "-" where nothing was measured."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def short(number: float) -> str:
    """Write a large number with its unit: 1.28 M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


def say_curves(metrics: Mapping[str, Mapping[int, float]]) -> str:
    """Say where validation ended, and whether it was still getting better."""
    points = sorted(metrics.get("val/top1", {}).items())
    if not points:
        return "Training, without a validation"
    best_epoch, best = max(points, key=lambda point: (point[1], point[0]))
    text = f"Validation accuracy reached {percent(best)} after epoch {best_epoch + 1}"
    if len(points) < 3:
        return text
    last = points[-1][1]
    third = points[-max(1, len(points) // 3) - 1][1]
    if last < best - 5 * FLAT:
        return text + f" and fell to {percent(last)}"
    return text + (" and was still rising" if best - third > FLAT and last >= best - FLAT else " and levelled off")


def say_classes(names: Sequence[str], recall: np.ndarray, number: np.ndarray) -> str:
    """Name the classes that are found least and most often."""
    present = np.flatnonzero(number)
    if not len(present):
        return "No class has images"
    worst, best = present[recall[present].argmin()], present[recall[present].argmax()]
    absent = (
        f"; {len(number) - len(present)} of {len(number)} classes have no images" if len(present) < len(number) else ""
    )
    if len(present) == 1:
        return f"“{names[worst]}” is the only class with images: {percent(recall[worst])} found{absent}"
    if recall[worst] == recall[best]:
        return f"Every class with images is found equally often: {percent(recall[worst])}{absent}"
    text = f"“{names[worst]}” is the hardest class, {percent(recall[worst])} found"
    return text + f"; “{names[best]}” the easiest, {percent(recall[best])}{absent}"


def say_confusion(names: Sequence[str], confusion: np.ndarray) -> str:
    """Name the commonest error."""
    errors = confusion - np.diag(np.diag(confusion))
    if not errors.sum():
        return "No image is taken for another class"
    truth, predicted = np.unravel_index(errors.argmax(), errors.shape)
    count, total = int(errors[truth, predicted]), int(confusion[truth].sum())
    return f"Most often “{names[truth]}” is taken for “{names[predicted]}”: {count:,} of {total:,}"


def say_reliability(bias: float, before: float, after: float | None) -> str:
    """Say whether the network is as often right as it claims. bias: mean confidence less accuracy."""
    if abs(bias) < 0.005:
        text = "It is about as often right as it says"
    else:
        text = f"It is {'over' if bias > 0 else 'under'}confident by {100 * abs(bias):.1f} points"
    if after is None:
        return f"{text} (calibration error {percent(before)})"
    if abs(after - before) < 0.0005:
        return f"{text}; temperature scaling changes little (calibration error {percent(before)})"
    verb = "brings" if after < before else "moves"
    return f"{text}; temperature scaling {verb} the calibration error from {percent(before)} to {percent(after)}"


def say_errors(confidence: np.ndarray, correct: np.ndarray) -> str:
    """Say how many errors are made with confidence."""
    errors = confidence[~correct]
    if not len(errors):
        return "It makes no error"
    sure = int((errors > 0.9).sum())
    if len(errors) == 1:
        return f"It makes one error, being {percent(errors[0], 0)} sure"
    how = "none of them" if not sure else f"{sure:,} of them"
    return f"It makes {len(errors):,} errors, {how} more than 90 % sure"


def say_labels(issues: int, examined: int) -> str:
    """Say how many labels the network doubts; a weak one doubts many that are right."""
    return f"The network doubts {f'{issues:,}' if issues else 'none'} of {examined:,} labels"


def say_balance(counts: Mapping[str, np.ndarray]) -> str:
    """Say how evenly the classes are filled, in the largest split."""
    name = max(counts, key=lambda split: int(counts[split].sum()))
    low, high = int(counts[name].min()), int(counts[name].max())
    if high == low:
        return f"The classes are balanced: {low:,} images each ({name})"
    if high <= EVEN * low:
        return f"The classes are balanced: {low:,} to {high:,} images each ({name})"
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
