"""The map of a report's images by the network's features, for any task: where they lie, which are copies or alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moganet.data import ArraySplit
from moganet.data.duplicates import is_near_copy
from moganet.data.survey import small_images, thumbnails
from moganet.embeddings.layout import components, tsne
from moganet.embeddings.search import Values, nearest_of
from moganet.numbers import percent, spread
from moganet.report.map import Map, MapPoint, map_section
from moganet.report.page import Section
from moganet.tasks.report import MAX_SIDE, Answers

MAX_POINTS = 3000
NEAR, MAX_PAIRS, MAX_LISTED = 5, 300, 12  # nearest of each; pairs that are looked at; copies and lonely images shown
ALIKE = 0.9  # cosine, below which no near-copy was seen
ALONE = 3.0  # times the interquartile range beyond the third quartile, a far outlier (Tukey 1977)
FEWEST = 8  # images, for which outliers mean something


def draw_map(parts: Sequence[Answers], class_names: Sequence[str]) -> Section:
    """Show the images of some splits on a map; a network that gives no features has none, and the section says so."""
    if not all(part.features is not None for part in parts):
        return Section("Map", left_out={"map": "There is no map: this model gives no features of images."})
    every = [(part, number) for part in parts for number in range(len(part))]
    chosen = [every[i] for i in spread(len(every), MAX_POINTS)]
    features = np.stack([part.features[number] for part, number in chosen if part.features is not None])
    near, cosines = nearest_of(features, None, NEAR)
    flat, share = components(features)
    layouts = {"principal components": flat}
    if (made := tsne(features)) is not None:
        layouts = {"t-SNE": made, **layouts}
    points = [
        MapPoint(_caption(part, number, class_names), _classes(part, number), tuple(nearest))
        for (part, number), nearest in zip(chosen, near.tolist(), strict=True)
    ]
    notes = [f"The first two principal components hold {percent(share, 0)} of what differs."]
    notes += ["t-SNE keeps neighbours, but no distances."] if made is not None else []
    if len(chosen) < len(every):
        notes.append(f"{len(chosen):,} of {len(every):,} images are shown, evenly spread.")
    copies, lonely = _copies(chosen, near, cosines), _lonely(cosines)
    drawn = Map(points, _pictures(chosen), layouts, class_names, copies, lonely, notes)
    return map_section(drawn, MAX_LISTED)


def _caption(part: Answers, number: int, class_names: Sequence[str]) -> str:
    label, name = part.split.targets.text(int(part.places[number]), class_names), part.name_of(number)
    return f"{label or 'no class'} ({name if f'/{part.name}/' in f'/{name}' else f'{part.name}/{name}'})"


def _classes(part: Answers, number: int) -> tuple[int, ...]:
    strata = part.split.targets.strata()[int(part.places[number])]
    return (int(strata),) if strata.ndim == 0 else tuple(np.flatnonzero(strata).tolist())


def _pictures(chosen: Sequence[tuple[Answers, int]]) -> list[NDArray[np.uint8]]:
    """Give the pictures of points, the squares of one side."""
    arrays = [part.split.images.shape[-2:] for part, _ in chosen if isinstance(part.split, ArraySplit)]
    side = min(MAX_SIDE, max(max(shape) for shape in arrays)) if arrays else MAX_SIDE
    return [picture for part, places in _by_part(chosen) for picture in thumbnails(part.split, places, side)]


def _by_part(chosen: Sequence[tuple[Answers, int]]) -> list[tuple[Answers, list[int]]]:
    """Give the places of images in their splits, split by split, as they are ordered."""
    parts = {id(part): part for part, _ in chosen}
    return [(part, [int(part.places[i]) for one, i in chosen if one is part]) for part in parts.values()]


def _copies(chosen: Sequence[tuple[Answers, int]], near: NDArray[np.int64], cosines: Values) -> list[tuple[int, int]]:
    """Find the pairs that are one picture, among those whose features are most alike."""
    firsts, ranks = np.nonzero(cosines >= ALIKE)
    alike = {
        tuple(sorted((int(i), int(near[i, rank])))): cosines[i, rank] for i, rank in zip(firsts, ranks, strict=True)
    }
    pairs = sorted(alike, key=lambda pair: -alike[pair])[:MAX_PAIRS]
    asked = sorted({number for pair in pairs for number in pair})
    images = [
        image for part, places in _by_part([chosen[i] for i in asked]) for image in small_images(part.split, places)
    ]
    of = dict(zip(asked, images, strict=True))
    found = []
    for first, second in pairs:
        one, other = of[first], of[second]
        if one is not None and other is not None and is_near_copy(one, other):
            found.append((first, second))
    return found


def _lonely(cosines: Values) -> list[int]:
    """Find the points whose nearest is much farther than others' are, the loneliest first."""
    if len(cosines) < FEWEST:
        return []
    apart = 1 - cosines[:, 0]
    low, high = np.quantile(apart, (0.25, 0.75))
    return [int(i) for i in np.argsort(-apart, kind="stable") if apart[i] > high + ALONE * (high - low)]
