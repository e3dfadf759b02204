"""An image explained by several methods: the maps, how far they can be trusted, and the files of both."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from torch import Tensor

from moganet.data.resample import seen_part
from moganet.explanations import METHODS, Explanation
from moganet.explanations.faithfulness import (
    correlation_text,
    insertion_deletion,
    random_areas,
    rank_correlation,
    with_drawn_weights,
)
from moganet.explanations.lime import STABLE
from moganet.explanations.method import Scores
from moganet.files import free_stem
from moganet.inference import Predictor
from moganet.inference.runtimes import open_predictor
from moganet.notices import say
from moganet.report.explained import Card, Map, card_of, draw_maps, legend, place_photograph
from moganet.results import Record

MAX_STEM = 100  # bytes
CHECK_SAMPLES = 1000  # of LIME with drawn weights: enough to see whether the map stays


class Explained(Record, extra="allow"):
    """An image's map by one method, with what else the method found; JSON has all but the map and its parts.

    probability: of the target, by the model. insertion, deletion: areas and curves, and the areas of random maps.
    randomized_correlation: with the map under drawn weights; None where there are no weights to draw.
    """

    file: str
    method: str
    target: str
    target_index: int
    probability: float
    map: Annotated[np.ndarray, Field(exclude=True)]
    parts: Annotated[dict[str, np.ndarray], Field(exclude=True)] = Field(default_factory=dict)
    insertion: float | None = None
    deletion: float | None = None
    insertion_random: float | None = None
    deletion_random: float | None = None
    randomized_correlation: float | None = None
    insertion_curve: tuple[float, ...] = ()
    deletion_curve: tuple[float, ...] = ()
    untrained: bool = False
    map_file: str | None = None
    picture: str | None = None
    __pydantic_extra__: dict[str, Any]


Found = Sequence[tuple[Explained, Explanation]]  # of one image, by each method


@dataclass(frozen=True)
class Asked:
    """One image: its name, its own pixels, uint8 (C, H, W), the network's input, the target."""

    name: str
    pixels: np.ndarray
    x: Tensor
    target: int
    probability: float


@dataclass(frozen=True)
class Explaining:
    """By which methods images are explained, with which options; whether maps are scored, and where they go."""

    predictor: Predictor
    names: Sequence[str]
    options: dict[str, Any]
    score: bool
    compare: bool
    folder: Path | None
    overwrite: bool
    samples: Predictor  # what LIME's samples are computed by
    target: str | None = None  # where it was chosen by the image
    cards: list[Card] = field(default_factory=list)  # of the page, those that were written
    legend: set[str] = field(default_factory=set)

    def of(self, asked: Asked, number: int) -> list[Explained]:
        """Explain the number-th image by each method, and write what was found where there is a folder."""
        found = [self._by(name, asked) for name in self.names]
        if self.folder is None:
            return [entry for entry, _ in found]
        pictures = ["compare"] if self.compare else [*self.names, *(f"{name}-parts" for name in self.names)]
        endings = [f"-{name}.npz" for name in self.names] + [f"-{name}.png" for name in pictures]
        with free_stem(
            self.folder, f"{number:03d}-{short_stem(asked.name)}", endings, overwrite=self.overwrite
        ) as stem:
            return self._write(self.folder / stem, asked, found)

    def _write(self, place: Path, asked: Asked, found: Found) -> list[Explained]:
        """Write each method's map, and pictures of them, under names that begin as `place` does."""
        maps = [_map_of(entry, explained) for entry, explained in found]
        target = f"{found[0][0].target} ({100 * asked.probability:.1f} %)"
        part = seen_part(asked.pixels.shape[1:], self.predictor.config.preprocessing)
        photograph = place_photograph(asked.name, target, asked.pixels, part)
        files = draw_maps(photograph, maps, place, compare=self.compare)
        kept = []
        for entry, explained in found:
            path = Path(f"{place}-{entry.method}.npz")
            explained.write(path)
            kept.append(entry.changed(map_file=str(path), picture=str(files[entry.method])))
        self.cards.append(card_of(photograph, maps, files))
        self.legend.add(legend(maps, whole=photograph.is_whole))
        return kept

    def _by(self, name: str, asked: Asked) -> tuple[Explained, Explanation]:
        asks = self.samples if name == "lime" else self.predictor
        model: Any = self.predictor.model if METHODS[name].needs_module else scores_of(asks)
        explained = METHODS[name].of(model, asked.x, asked.target, self.options)
        entry = Explained(
            file=asked.name,
            method=name,
            target=self.predictor.class_names[asked.target],
            target_index=asked.target,
            probability=asked.probability,
            map=explained.map.numpy(),
            parts={part: found.numpy() for part, found in explained.parts.items()},
            **explained.details,
            **({"precision": asks.precision} if name == "lime" else {}),
            **(self._scores(asked, name, explained.map) if self.score else {}),
            **({} if self.predictor.trained else {"untrained": True}),
        )
        _say_unstable(entry)
        return entry, explained

    def _scores(self, asked: Asked, name: str, found: Tensor) -> dict[str, Any]:
        """Give the areas, those of random maps, the curves, and the correlation with the map under drawn weights."""
        scores = scores_of(self.predictor)
        curves = insertion_deletion(scores, asked.x, asked.target, found)
        inserted, deleted = random_areas(scores, asked.x, asked.target, seed=self.options["seed"])
        return {
            "insertion": curves.insertion_area,
            "deletion": curves.deletion_area,
            "insertion_random": inserted,
            "deletion_random": deleted,
            "randomized_correlation": self._randomized(asked, name, found),
            "insertion_curve": curves.insertion,
            "deletion_curve": curves.deletion,
        }

    def _randomized(self, asked: Asked, name: str, found: Tensor) -> float | None:
        """Compare with the map under drawn weights; an exported file has none that could be drawn."""
        if not self.predictor.has_module:
            return None
        model: Any = with_drawn_weights(self.predictor.model, self.options["seed"])
        options = self.options | ({"samples": CHECK_SAMPLES} if name == "lime" else {})
        if not METHODS[name].needs_module:
            model = scores_of(open_predictor(model, self.predictor.config, "eager", where=self.predictor.where))
        return rank_correlation(found, METHODS[name].of(model, asked.x, asked.target, options).map)


def short_stem(name: str) -> str:
    """Give an image's name without its ending, cut so that a file system takes it with what is added."""
    stem = Path(name).stem
    return stem if len(os.fsencode(stem)) <= MAX_STEM else os.fsencode(stem)[:MAX_STEM].decode(errors="ignore")


def _say_unstable(entry: Explained) -> None:
    """Say where LIME stopped at its limit, since the order of the best superpixels is then a matter of chance."""
    stable = entry.get("stable")
    if stable is not None and stable < STABLE:
        what = f"lime's ranking was not stable after {entry['samples']:,} samples"
        agree = f"{100 * stable:.0f} % of resampled fits agree, {100 * STABLE:.0f} % are asked for"
        say(f"{entry.file}: {what} ({agree}); choose more by --samples", doubtful=True)


def scores_of(predictor: Predictor) -> Scores:
    """Give a predictor as a function from images (B, C, H, W) to probabilities (B, classes)."""
    return lambda x: predictor.probabilities(predictor.logits(x))


def _map_of(entry: Explained, explained: Explanation) -> Map:
    """Give what is drawn of a method's findings."""
    lines = []
    if "r2" in entry:
        steady = ", not stable" if entry.get("stable", 1.0) < STABLE else ""
        lines.append(f"{entry['samples']} samples, R² {entry['r2']:.2f}{steady}")
    if entry.insertion is not None:
        lines.append(f"insertion {entry.insertion:.2f} (random {entry.insertion_random:.2f})")
        lines.append(f"deletion {entry.deletion:.2f} (random {entry.deletion_random:.2f})")
        if entry.randomized_correlation is not None:
            lines.append(f"drawn weights: correlation {correlation_text(entry.randomized_correlation)}")
    return Map(
        entry.method,
        entry.map,
        METHODS[entry.method].signed,
        lines,
        None if explained.segments is None else explained.segments.numpy(),
        {name: part.numpy() for name, part in explained.parts.items()},
        entry.insertion_curve,
        entry.deletion_curve,
    )
