"""Numbers as a person reads them."""

from collections.abc import Iterable

Z95 = 1.959964  # of a normal distribution, two-sided


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share as percent, "-" where nothing was measured."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def short(number: float) -> str:
    """Write a large number with its unit: 1.28 M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


def count(number: int, what: str) -> str:
    """Write a number of things: 1 image, 1,200 images."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def dimensions(lengths: Iterable[int]) -> str:
    """Write a size as people do: 224x224."""
    return "x".join(map(str, lengths))


def duration(seconds: float) -> str:
    """Write a time in the largest unit of which there are ten."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 10 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def spread(total: int, number: int) -> list[int]:
    """Choose up to `number` of `total` indices, evenly spread over all."""
    return sorted({int(i * total / min(number, total)) for i in range(min(number, total))})


def wilson_interval(share: float, number: int) -> tuple[float, float]:
    """Give the 95 % interval of a share among `number` trials (Wilson 1927)."""
    center = (share + Z95**2 / (2 * number)) / (1 + Z95**2 / number)
    half = Z95 / (1 + Z95**2 / number) * (share * (1 - share) / number + Z95**2 / (4 * number**2)) ** 0.5
    return max(0.0, center - half), min(1.0, center + half)
