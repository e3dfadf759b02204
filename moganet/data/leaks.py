"""What makes figures flatter than they are: images, or groups, on both sides of a division; an image of two labels."""

from typing import NamedTuple

from moganet.data.contents import UNREADABLE
from moganet.data.source import Dataset


class Copy(NamedTuple):
    """An image that has the bytes of an earlier one: split, place and the name of the target of each."""

    first: tuple[str, int, str]
    second: tuple[str, int, str]

    @property
    def contradicts(self) -> bool:  # the two stand under different labels
        return self.first[2] != self.second[2]


def find_copies(dataset: Dataset) -> list[Copy]:
    """List the images that are copies, byte for byte, of an earlier one of the same or another split."""
    seen: dict[bytes, tuple[str, int, str]] = {}
    found = []
    for name, split in dataset.distinct().items():
        for place, content in enumerate(split.contents()):
            here = name, place, split.targets.text(place, dataset.class_names)
            first = seen.setdefault(content, here)
            if first is not here and content != UNREADABLE:
                found.append(Copy(first, here))
    return found


def find_torn_groups(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """Give the groups of which images stand in more than one split, and those splits."""
    splits_of: dict[str, dict[str, None]] = {}
    for name, split in dataset.splits.items():
        for group in split.groups or ():
            splits_of.setdefault(group, {})[name] = None
    return {group: tuple(names) for group, names in splits_of.items() if len(names) > 1}


def describe_leaks(dataset: Dataset) -> list[str]:
    """Give a line for each way in which images of a data set contradict or repeat each other."""
    copies, lines = find_copies(dataset), []
    if contrary := [copy for copy in copies if copy.contradicts]:
        two = " and ".join(f"{dataset.splits[name].name_of(place)} ({label})" for name, place, label in contrary[0])
        what = f"{len(contrary):,} images of {dataset.spec} have the bytes of another under another label"
        lines.append(f"{what}, as {two}; moganet doctor names all")
    if within := sum(copy.first[0] == copy.second[0] for copy in copies):
        what = f"{within:,} images of {dataset.spec} have the bytes of another of their split"
        held = "where a part is held back for validation, copies stay on one side"
        lines.append(f"{what}; {held}; moganet doctor names them")
    for name in dataset.splits:
        if across := [copy.first[0] for copy in copies if copy.second[0] == name != copy.first[0]]:
            what = f"{len(across):,} of {len(dataset.splits[name]):,} images of {name} are copies of some in"
            others = " and ".join(sorted(set(across)))
            lines.append(f"{what} {others}, so that figures of it flatter; moganet doctor names all")
    return lines
