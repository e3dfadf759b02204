"""The loop that measures interactions, in the amount asked or that a budget allows; what is known is not repeated."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from moganet.data import Split
from moganet.errors import DataError, InteractionError
from moganet.inference.interaction_images import Chosen, ImageChoice, input_of, mean_colour
from moganet.inference.masking import Baseline, MaskedImage, MeasuredNetwork, baseline_of, best_batch
from moganet.interactions import (
    Interactions,
    Plan,
    pair_interactions,
    plan_budget,
    published_orders,
    sample_contexts,
    sample_pairs,
)
from moganet.interactions.budget import count_evaluations
from moganet.interactions.files import InteractionFiles, Measurement, read, save
from moganet.interactions.sampling import count_pairs
from moganet.notices import say

logger = logging.getLogger(__name__)
Watch = Callable[[int, int], None]  # evaluations done since the last call, and how many there will be in all
Networks = Sequence[MeasuredNetwork]
Drawn = tuple[NDArray[np.int64], NDArray[np.bool_]]  # pairs and their contexts
MOST_IMAGES = 500
PILOTS = ((5, 6, 8), (4, 4, 5), (3, 3, 4))  # images, pairs, contexts of a budget's first look
PILOT_SHARE = 0.15  # of the budget, at the most
SPARE = 0.9  # of the budget is planned for: other work may slow the machine down


@dataclass(frozen=True)
class Amount:
    """How much is measured of each network, and at what grid. The defaults are the published CIFAR-10 runs'."""

    grid: int
    images: int = 50
    pairs: int = 200
    contexts: int = 100

    @property
    def evaluations(self) -> int:
        """Give the masks of all images of one network."""
        n = self.grid**2
        inner = len({m for m in published_orders(n) if m not in (0, n - 2)})
        return self.images * count_evaluations(self.pairs, self.contexts, inner, n)


@dataclass
class Found:
    """A network's interactions, image by image, and the seconds that they took."""

    images: list[Interactions]
    seconds: float = 0.0


class MeasurementRun:
    """One measurement: what was asked, what is chosen, and the loop over images and networks.

    amount, plan: what is measured, and the budget's plan where it chose that. batches: masks at a time, by network.
    """

    def __init__(
        self, networks: Networks, split: Split, settings: Measurement, files: InteractionFiles, watch: Watch
    ) -> None:
        self.networks, self.settings, self.files, self.watch = networks, settings, files, watch
        self.images = ImageChoice(split, networks, settings.seed, only_correct=settings.filter == "correct")
        self.means = {one.name: torch.zeros(one.preprocessing.channels) for one in networks}
        if settings.baseline == "mean":
            self.means = {one.name: mean_colour(split, one.preprocessing) for one in networks}
        self.batches: dict[str, int] = {}
        self.plan: Plan | None = None
        self.start, self.total = time.perf_counter(), 0

    def begin(self, batch_size: int | None, overwrite: bool) -> None:
        """Settle what is measured: as the folder's measurement began, else as asked, else planned for the budget."""
        asked, most = self.settings, count_pairs(self.settings.grid)
        before = self.files.begin(asked.changed(images=None, batches=None), overwrite)
        known, planning = before.batches or {}, before.budget is not None and before.images is None
        rates = self._find_batches(batch_size, known, timed=planning)
        if asked.images is not None:
            before = before.changed(images=asked.images)
        if planning:
            self.plan = self._plan(before, rates)
            before = before.changed(images=self.plan.images, pairs=self.plan.pairs, contexts=self.plan.contexts)
        usual = Amount(asked.grid, pairs=min(Amount.pairs, most))
        amount = {name: before[name] or getattr(usual, name) for name in ("images", "pairs", "contexts")}
        self.amount = Amount(asked.grid, **amount)
        sample_pairs(asked.grid, self.amount.pairs)  # says what is wrong with them before anything runs
        self.settings = asked.changed(**amount, budget=before.budget)
        self.files.keep(self.settings.changed(batches={**known, **self.batches}))

    def _find_batches(self, asked: int | None, known: dict[str, int], *, timed: bool) -> dict[str, float]:
        """Settle each network's masks at a time, and give their masks/s where that was timed."""
        rates: dict[str, float] = {}
        for one in self.networks:
            size = asked or known.get(one.name)
            if size is None or timed:
                found, rates[one.name] = best_batch(one.logits, one.shape, one.device)
                size = size or found
            self.batches[one.name] = size
        return rates

    def _plan(self, asked: Measurement, rates: dict[str, float]) -> Plan:
        """Choose images, pairs and contexts from a first look at the first network."""
        assert asked.budget is not None
        grid, budget, most = asked.grid, asked.budget, count_pairs(asked.grid)
        a_second = 1 / sum(1 / rate for rate in rates.values())  # masks, evaluated by all
        sizes = [Amount(grid, i, min(p, most), k) for i, p, k in PILOTS]
        look = next((one for one in sizes if one.evaluations / a_second <= PILOT_SHARE * budget), sizes[-1])
        first = self.networks[0]
        pilot = [self._measured(first, one, self._draw(one, look)) for one in self.images.first(look.images)]
        if len(pilot) < 2:
            raise DataError(f"only {len(pilot)} images qualify, from which no budget can be planned; try --filter all")
        plan = plan_budget(
            pilot,
            int((SPARE * budget - (time.perf_counter() - self.start)) * a_second),
            max_images=min(MOST_IMAGES, len(self.images.order), asked.images or MOST_IMAGES),
            max_pairs=min(most, asked.pairs or most),
            contexts=asked.contexts,
        )
        logger.info(
            "%d images, %d pairs, %d contexts: %s evaluations a network, expected error of J %.3f",
            *(plan.images, plan.pairs, plan.contexts, f"{plan.evaluations:,}", plan.error),
        )
        return plan

    def measure(self) -> tuple[dict[str, Found], list[str]]:
        """Measure image by image, each by all networks, so that all have the same; give all with identities."""
        self.total = self.amount.evaluations * len(self.networks)
        found, identities = {one.name: Found([]) for one in self.networks}, list[str]()
        stored, late = 0.0, False  # seconds of earlier calls, and whether the time is over
        for chosen in self.images.first(self.amount.images):
            spent, budget = time.perf_counter() - self.start + stored, self.settings.budget
            if late := budget is not None and len(identities) >= 2 and spent > budget:
                break
            drawn = None
            for one in self.networks:
                path = self._path(one, chosen)
                known = read(path) if path is not None else None
                if known is None:
                    drawn = drawn or self._draw(chosen, self.amount)
                    began = time.perf_counter()
                    made = self._measured(one, chosen, drawn, watched=True)
                    known = made, time.perf_counter() - began
                    if path is not None:
                        save(path, *known)
                else:
                    self.total -= self.amount.evaluations // self.amount.images
                    stored += known[1]
                found[one.name].images.append(known[0])
                found[one.name].seconds += known[1]
            identities.append(chosen.identity)
        self._check(len(identities), late)
        return found, identities

    def _check(self, number: int, late: bool) -> None:
        if not number:
            none = f"none of {self.images.looked_at} images is classified correctly by every model"
            raise DataError(f"{none}; try --filter all, or another --split")
        if number < self.amount.images:
            reason = "the time is over" if late else f"{self.images.looked_at} images hold no more that qualify"
            say(f"measured on {number} instead of {self.amount.images} images: {reason}", doubtful=True)

    def _draw(self, chosen: Chosen, amount: Amount) -> Drawn:
        n, seed = amount.grid**2, f"{self.settings.seed} {chosen.identity}"
        pairs = sample_pairs(amount.grid, amount.pairs, seed)
        return pairs, sample_contexts(n, pairs, published_orders(n), amount.contexts, seed)

    def _measured(self, one: MeasuredNetwork, chosen: Chosen, drawn: Drawn, watched: bool = False) -> Interactions:
        image = input_of(one.preprocessing, chosen.sample.image).to(one.device)
        absent = baseline_of(cast(Baseline, self.settings.baseline), image, self.means[one.name])
        label = one.classes[chosen.sample.target]
        value = MaskedImage(one.logits, image, absent, label, self.settings.reward, self.settings.grid)
        if watched:
            value.watch = lambda done: self.watch(done, self.total)
        try:
            return pair_interactions(value, *drawn, batch_size=self.batches[one.name])
        except InteractionError as error:
            raise InteractionError(f"{one.name} on {chosen.sample.name}: {error}") from None

    def _path(self, one: MeasuredNetwork, chosen: Chosen) -> Path | None:
        if self.files.folder is None:
            return None
        how = one.predictor.runtime, one.predictor.precision, one.preprocessing.model_dump_json(), one.classes
        means = self.means[one.name].tolist() if self.settings.baseline == "mean" else None
        folder = self.files.model(one.name, repr(((one.identity, *how), means, self.batches[one.name])))
        return folder / f"{chosen.identity[:32]}-{chosen.sample.target}.npz"
