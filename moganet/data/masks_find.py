"""Which image has which mask, and in which split, by the names of folders and files.

A file is a mask where a folder above it is named like masks (`masks`, `annotations`, `trainannot`, `gtFine`), or where
its own name ends so (`a_mask.png` beside `a.jpg`), or where it lies beside a photograph of the same stem. What is left
of its place without such words, and without the word of a split, is what image and mask have in common.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple

from moganet.data.scan import Folder
from moganet.data.split_names import SPLITS, SplitName, split_of
from moganet.errors import DataError

_MASKS = (
    r"(ground[_ -]?truths?|gt[_ -]?fine|gt[_ -]?coarse|gts?|pixel[_ -]?(maps?|labels?)|stuffthingmaps|panoptic|"
    r"segmentation[_ -]?(class|masks?|maps?|labels?)?|seg[_ -]?(masks?|maps?|labels?)|segs?|semantic|"
    r"(label|class|train)[_ -]?ids?|masks?|mask[_ -]?(png|images?)|anns?|annots?|annotations?|labels?|targets?)"
)
_IMAGES = r"(images?|imgs?|leftimg8bit|jpe?g[_ -]?images?|rgb|photos?|pictures?|pics?|inputs?|frames?|originals?)"
_ONLY_MASKS, _ONLY_IMAGES = (re.compile(words, re.IGNORECASE) for words in (_MASKS, _IMAGES))
_ENDS_MASKS = re.compile(rf"(.*?)[_ -]?{_MASKS}", re.IGNORECASE)
_BEGINS_MASKS = re.compile(rf"{_MASKS}[_ -](.*)", re.IGNORECASE)
_ENDS_IMAGES = re.compile(rf"(.*?)[_ -]?{_IMAGES}", re.IGNORECASE)
_STEM_MASKS = re.compile(
    r"(.+?)[_.-](?:gt(?:Fine|Coarse)_(?:labelTrainIds|labelIds)|(?:label(?:Train)?Ids?)|masks?|annot(?:ation)?s?|"
    r"labels?|seg(?:mentation)?|gt|L|P)",
    re.IGNORECASE,
)
_NO_MASKS = re.compile(r".*_(color|colour|colors|instanceIds|instanceTrainIds|polygons|vis|overlay)", re.IGNORECASE)
_STEM_IMAGES = re.compile(r"(.+?)_(?:leftImg8bit|image|img|rgb|sat)", re.IGNORECASE)
_NUMBERED = re.compile(
    r"segmentation[_ -]?objects?|instances?|instance[_ -]?(masks?|ids?)", re.IGNORECASE
)  # objects, not classes
TRAIN_IDS = re.compile(r".*_labelTrainIds", re.IGNORECASE)
PHOTOGRAPHS = frozenset({".jpg", ".jpeg", ".heic", ".webp"})  # beside a PNG of the same stem this is its mask


class Pair(NamedTuple):
    """An image and its mask."""

    image: Path
    mask: Path


@dataclass
class Found:
    """Pairs by split (None where no name says one), what has no partner, and what was passed over beside masks."""

    pairs: dict[SplitName | None, list[Pair]] = field(default_factory=dict)
    without_mask: list[Path] = field(default_factory=list)
    without_image: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)  # colour pictures of masks, say
    unlisted: list[str] = field(default_factory=list)  # stems in a split's list that no image with a mask has


class _Place(NamedTuple):
    """Where a file belongs: its split, the folders that image and mask have in common, its stem; whether it is a mask.

    named: by a folder, and not by the file's own name.
    """

    split: SplitName | None
    rest: tuple[str, ...]
    stem: str
    is_mask: bool
    named: bool

    @property
    def key(self) -> "_Key":
        return self.split, self.rest, self.stem

    @property
    def bare(self) -> "_Key":  # without what a stem has of its role
        found = (_STEM_MASKS if self.is_mask else _STEM_IMAGES).fullmatch(self.stem)
        return self.split, self.rest, found[1] if found else self.stem


_Key = tuple[SplitName | None, tuple[str, ...], str]
_Placed = list[tuple[Path, _Place]]


def find_pairs(root: Path, tree: Folder, told: Mapping[str, PurePath]) -> Found:
    """Match the images below a folder with masks. told: the folders of "images" and "masks", where they are named.

    Raises DataError where two masks may belong to one image.
    """
    placed: _Placed = []
    found = Found()
    for path in tree.all_images:
        place = _told(path.relative_to(root), told) if told else _place(path.relative_to(root))
        numbered = not told and any(map(_NUMBERED.fullmatch, path.relative_to(root).parent.parts))
        if place is not None and not numbered and not (place.is_mask and _NO_MASKS.fullmatch(path.stem)):
            placed.append((path, place))
        elif place is not None or not told:
            found.others.append(path)
    images, masks = _divided(placed)
    exact, bare = _by_key((path, place.key) for path, place in masks), _by_key((p, place.bare) for p, place in masks)
    used: set[Path] = set()
    for path, place in images:
        fitting = next(
            (m for i, k in ((exact, place.key), (bare, place.key), (bare, place.bare)) if (m := i.get(k))), []
        )
        if not fitting:
            found.without_mask.append(path)
            continue
        mask = _chosen(path, fitting)
        used |= set(fitting)
        found.others += [one for one in fitting if one != mask]
        found.pairs.setdefault(place.split, []).append(Pair(path, mask))
    found.without_image = [path for path, _ in masks if path not in used]
    return found


def _by_key(named: Iterable[tuple[Path, _Key]]) -> dict[_Key, list[Path]]:
    found: dict[_Key, list[Path]] = {}
    for path, key in named:
        found.setdefault(key, []).append(path)
    return found


def _chosen(image: Path, masks: list[Path]) -> Path:
    by_ids = [path for path in masks if TRAIN_IDS.fullmatch(path.stem)]  # of Cityscapes' two forms that without a table
    if len(masks) == 1 or len(by_ids) == 1:
        return (by_ids or masks)[0]
    what = f"{masks[0]} and {masks[1]} may both be the mask of {image}"
    raise DataError(f"{what}; remove one, or say which folders are meant: masks:DIR?images=NAME&masks=NAME")


def _divided(placed: _Placed) -> tuple[_Placed, _Placed]:
    """Tell images and masks apart; of two files that only lie beside each other the photograph is the image."""
    images = [one for one in placed if one[1].named and not one[1].is_mask]
    masks = [one for one in placed if one[1].is_mask]
    beside: dict[_Key, _Placed] = {}
    for one in placed:
        if not one[1].named and not one[1].is_mask:
            beside.setdefault(one[1].key, []).append(one)
    for some in beside.values():
        photographs = [one for one in some if one[0].suffix.lower() in PHOTOGRAPHS]
        if len(some) == 2 and len(photographs) == 1:
            images += photographs
            masks += [(path, place._replace(is_mask=True)) for path, place in some if (path, place) not in photographs]
        else:
            images += some
    return sorted(images), sorted(masks)


def _told(path: PurePath, told: Mapping[str, PurePath]) -> _Place | None:
    for role, folder in told.items():
        if path.is_relative_to(folder):
            place = _place(path.relative_to(folder))
            split = place.split or next((found for part in folder.parts if (found := split_of(_word(part)[0]))), None)
            return place._replace(split=split, is_mask=role == "masks", named=True)
    return None


def _place(path: PurePath) -> _Place:
    split: SplitName | None = None
    is_mask = is_image = False
    rest: list[str] = []
    for part in path.parent.parts:
        word, masks, images = _word(part)
        is_mask, is_image = is_mask or masks, is_image or images
        found = split_of(word) if word else None
        split = split or found
        if word and found is None:
            rest.append(word)
    ends = _STEM_MASKS.fullmatch(path.stem) is not None and not is_image
    return _Place(split, tuple(rest), path.stem, is_mask or ends, named=is_mask or is_image)


def is_named_masks(folder: str) -> bool:
    """Tell whether a folder's name is one for masks."""
    return _word(folder)[1]


def is_named_images(folder: str) -> bool:
    """Tell whether a folder's whole name is a word for images."""
    return _ONLY_IMAGES.fullmatch(folder) is not None


def _word(part: str) -> tuple[str, bool, bool]:
    """Give what is left of a folder's name without the words for masks or images, and whether it had either."""
    if _ONLY_MASKS.fullmatch(part):
        return "", True, False
    if _ONLY_IMAGES.fullmatch(part):
        return "", False, True
    for pattern, group, masks in ((_ENDS_MASKS, 0, True), (_BEGINS_MASKS, -1, True), (_ENDS_IMAGES, 0, False)):
        found = pattern.fullmatch(part)
        rest = found.groups()[group] if found is not None else ""
        if rest and split_of(rest) is not None:  # trainannot, masks_val, train_images; not "seagulls"
            return rest, masks, not masks
    return part, False, False


def by_lists(root: Path, found: Found) -> None:
    """Divide pairs without a split by lists of stems, train.txt and val.txt, where a set has them (PASCAL VOC)."""
    pairs = found.pairs.get(None, [])
    deep = [folder for up in ("*", "*/*") for folder in root.glob(f"{up}/ImageSets/Segmentation")]
    one_deep = deep if len(deep) == 1 else []  # VOCdevkit/VOC2012
    for folder in (root / "ImageSets" / "Segmentation", *one_deep, root / "splits", root):
        lists = {split: folder / f"{split}.txt" for split in SPLITS if (folder / f"{split}.txt").is_file()}
        if not pairs or "train" not in lists:
            continue
        known = {pair.image.stem: pair for pair in pairs}
        for split, file in lists.items():
            lines = file.read_text(errors="replace").splitlines()
            stems = list(dict.fromkeys(PurePath(line.split()[0]).stem for line in lines if line.strip()))
            chosen = [known[stem] for stem in stems if stem in known]
            found.unlisted += [f"{stem} of {file.name}" for stem in stems if stem not in known]
            if chosen:
                found.pairs[split] = chosen
        used = {pair for split in lists for pair in found.pairs.get(split, ())}
        found.others += [pair.image for pair in found.pairs.pop(None) if pair not in used]
        return
