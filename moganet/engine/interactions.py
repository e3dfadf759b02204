"""`interactions`: how strong the interactions of patches are in networks, at each order, on the same images."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from moganet.config import Precision
from moganet.data import Dataset, Split, open_data
from moganet.engine.interaction_files import InteractionFiles, read, save
from moganet.engine.interaction_images import Chosen, ImageChoice, input_of, mean_colour
from moganet.engine.interaction_results import compared, describe, write_results
from moganet.engine.masking import Baseline, MaskedImage, baseline_of, best_batch
from moganet.engine.subjects import Subject, open_subjects, predictors_of
from moganet.errors import ConfigError, DataError, InteractionError
from moganet.inference import Predictor
from moganet.inference.own_data import choose_split, open_for
from moganet.inference.runtimes import Runtime
from moganet.interactions import (
    REWARDS,
    Interactions,
    Plan,
    pair_interactions,
    plan_budget,
    published_orders,
    sample_contexts,
    sample_pairs,
    strength,
)
from moganet.interactions.budget import count_evaluations
from moganet.interactions.sampling import count_pairs
from moganet.machine import keep_freed_memory
from moganet.notices import noted, say

logger = logging.getLogger(__name__)
Watch = Callable[[int, int], None]  # evaluations done since the last call, and how many there will be in all
Filter = Literal["correct", "all"]
DEFAULTS = {"images": 50, "pairs": 200, "contexts": 100}  # the published CIFAR-10 runs'
MOST_IMAGES = 500
PILOTS = ((5, 6, 8), (4, 4, 5), (3, 3, 4))  # images, pairs, contexts of a budget's first look
PILOT_SHARE = 0.15  # of the budget, at the most
SPARE = 0.9  # of the budget is planned for: other work may slow the machine down


@dataclass(frozen=True)
class Amount:
    """How much is measured of each network, and at what grid."""

    grid: int
    images: int
    pairs: int
    contexts: int

    @property
    def evaluations(self) -> int:
        """Give the masks of all images of one network."""
        n = self.grid**2
        inner = len({m for m in published_orders(n) if m not in (0, n - 2)})
        return self.images * count_evaluations(self.pairs, self.contexts, inner, n)


def no_watch(done: int, total: int) -> None:
    """Pass over progress; the command line gives a function that draws it."""


@noted
def interaction_curves(
    models: str | Path | Predictor | Sequence[str | Path | Predictor],
    data: str | None = None,
    split: str = "test",
    *,
    grid: int | None = None,
    images: int | None = None,
    pairs: int | None = None,
    contexts: int | None = None,
    budget: float | None = None,
    filter: Filter = "correct",  # noqa: A002 (the command line's word)
    reward: str = "log-odds",
    baseline: Baseline = "zero",
    size: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    out: str | Path | None = None,
    overwrite: bool = False,
    watch: Watch = no_watch,
) -> dict[str, Any]:
    """Measure the strength of multi-order interactions, J^(m), of networks on the same images, pairs and contexts.

    models: MODELs (files, runs, exported files), "timm:NAME", or "timm:NAME@CHECKPOINT".
    data: SOURCE[:PATH] or a path; None takes the set that the first model was trained on. split: as `evaluate`'s.
    grid: patches a side [14 where 14 divides the side, else 16, at most the side]. images, pairs an image, contexts a
        pair and order: [50, 200, 100], or with budget (seconds) what gives the least error in that time.
    filter: "correct" takes images that every model classifies correctly, "all" any. reward: "log-odds", "log-p" or
        "logit". baseline: what absent patches show, "zero" (the preprocessing's mean), "mean" (the data's) or "blur".
    size: pixels a side [each model's own]. batch_size: masks at a time [the fastest].
    out: a folder that keeps each image's result as it comes, so that the same call goes on, and interactions.json,
        .csv and .png. It may later be asked for more images or other models.
    Gives `models` (each with `curve` rows, `middle` and its band), `comparisons` with the first model, and settings.
    Raises ConfigError, DataError, WeightsError or InteractionError.
    """
    named = [models] if isinstance(models, str | Path | Predictor) else list(models)
    if not named:
        raise ConfigError("there is no model to measure; name at least one")
    if reward not in REWARDS:
        raise ConfigError(f"there is no reward {reward!r}; choose one of {', '.join(REWARDS)}")
    if filter not in ("correct", "all"):
        raise ConfigError(f"there is no filter {filter!r}; choose correct or all")
    predictors = predictors_of(named, runtime, precision)
    dataset = _open(predictors, data)
    split, part = choose_split(dataset, split)
    subjects = [one.resized(size) for one in open_subjects(named, predictors, dataset, runtime, precision)]
    if subjects[0].device.type == "cpu":
        keep_freed_memory()
    asked = {
        "grid": _grid_for(subjects) if grid is None else grid,
        "pairs": pairs,
        "contexts": contexts,
        "images": images,
    }
    fixed = {"data": dataset.spec, "split": split, "filter": filter, "reward": reward, "baseline": baseline}
    settings = {**fixed, "seed": seed, "size": size}
    run = _Run(subjects, part, settings, InteractionFiles(None if out is None else Path(out)), watch)
    run.begin(asked, budget, batch_size, overwrite)
    return run.measure()


def _open(predictors: Sequence[Predictor | None], data: str | None) -> Dataset:
    first = next((one for one in predictors if one is not None), None)
    if first is not None:
        return open_for(first, data)[0]
    if data is None:
        raise DataError("these models do not say what they were trained on; give --data SOURCE[:PATH]")
    return open_data(data)


def _grid_for(subjects: Sequence[Subject]) -> int:
    side = min(min(one.preprocessing.size) for one in subjects)
    return 14 if side % 14 == 0 else min(16, side)


class _Run:
    """One measurement: what was asked, what is chosen, and the loop over images and networks."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        split: Split,
        settings: dict[str, Any],
        files: InteractionFiles,
        watch: Watch,
    ) -> None:
        self.subjects, self.settings, self.files, self.watch = subjects, settings, files, watch
        only_correct = settings["filter"] == "correct"
        self.images = ImageChoice(split, subjects, settings["seed"], only_correct=only_correct)
        self.means: dict[str, Tensor] = {}
        if settings["baseline"] == "mean":
            self.means = {one.name: mean_colour(split, one.preprocessing) for one in subjects}
        self.batches: dict[str, int] = {}
        self.plan: Plan | None = None
        self.start, self.total = time.perf_counter(), 0

    def begin(self, asked: dict[str, Any], budget: float | None, batch: int | None, overwrite: bool) -> None:
        """Settle what is measured: as the folder's measurement began, else as asked, else planned for the budget."""
        _check(asked, budget, self.subjects)
        grid, images = asked["grid"], asked.pop("images")
        opened = {**self.settings, **asked, "budget": budget, "images": None, "batches": None}
        before = self.files.begin(opened, overwrite)
        self.budget = before["budget"]
        planning = self.budget is not None and before["images"] is None
        rates = self._find_batches(batch, before["batches"] or {}, timed=planning)
        amount = {name: before[name] for name in DEFAULTS} | ({} if images is None else {"images": images})
        if planning:
            amount = self._plan({**amount, "grid": grid}, rates)
        most = {"pairs": count_pairs(grid)}
        amount = {name: amount[name] or min(value, most.get(name, value)) for name, value in DEFAULTS.items()}
        self.amount = Amount(grid, **amount)
        sample_pairs(grid, self.amount.pairs)  # says what is wrong with them before anything runs
        self.settings |= {"grid": grid, **amount, "budget": self.budget}
        self.files.keep({**self.settings, "batches": {**(before["batches"] or {}), **self.batches}})

    def _find_batches(self, asked: int | None, known: dict[str, int], *, timed: bool) -> dict[str, float]:
        """Settle each network's masks at a time, and give their masks/s where that was timed."""
        rates: dict[str, float] = {}
        for one in self.subjects:
            size = asked or known.get(one.name)
            if size is None or timed:
                found, rates[one.name] = best_batch(one.run, _shape(one), one.device)
                size = size or found
            self.batches[one.name] = size
        return rates

    def _plan(self, asked: dict[str, Any], rates: dict[str, float]) -> dict[str, int]:
        """Choose images, pairs and contexts from a first look at the first network."""
        assert self.budget is not None
        grid, budget = asked["grid"], self.budget
        a_second = 1 / sum(1 / rate for rate in rates.values())  # masks, evaluated by all
        sizes = [Amount(grid, i, min(p, count_pairs(grid)), k) for i, p, k in PILOTS]
        look = next((one for one in sizes if one.evaluations / a_second <= PILOT_SHARE * budget), sizes[-1])
        pilot = [
            self._interactions(self.subjects[0], chosen, look, *self._draw(chosen, look))
            for chosen in self.images.first(look.images)
        ]
        if len(pilot) < 2:
            raise DataError(f"only {len(pilot)} images qualify, from which no budget can be planned; try --filter all")
        spent = time.perf_counter() - self.start
        left = int((SPARE * budget - spent) * a_second)
        most = min(MOST_IMAGES, len(self.images.order), asked["images"] or MOST_IMAGES)
        plan = plan_budget(
            pilot,
            left,
            max_images=most,
            max_pairs=min(count_pairs(grid), asked["pairs"] or count_pairs(grid)),
            contexts=asked["contexts"],
        )
        logger.info(
            "%d images, %d pairs, %d contexts: %s evaluations a network, expected error of J %.3f",
            *(plan.images, plan.pairs, plan.contexts, f"{plan.evaluations:,}", plan.error),
        )
        self.plan = plan
        return {"images": plan.images, "pairs": plan.pairs, "contexts": plan.contexts}

    def measure(self) -> dict[str, Any]:
        """Measure image by image, each by all networks, so that whenever it ends all have the same."""
        self.total = self.amount.evaluations * len(self.subjects)
        found: dict[str, list[Interactions]] = {one.name: [] for one in self.subjects}
        seconds, late = dict.fromkeys(found, 0.0), False
        identities: list[str] = []
        stored_seconds = 0.0  # of earlier calls
        for chosen in self.images.first(self.amount.images):
            spent = time.perf_counter() - self.start + stored_seconds
            if self.budget is not None and len(identities) >= 2 and spent > self.budget:
                late = True
                break
            drawn: tuple[Any, Any] | None = None
            for one in self.subjects:
                path = self._path(one, chosen)
                stored = read(path) if path is not None else None
                if stored is None:
                    drawn = drawn or self._draw(chosen, self.amount)
                    began = time.perf_counter()
                    made = self._interactions(one, chosen, self.amount, *drawn, watched=True)
                    stored = made, time.perf_counter() - began
                    if path is not None:
                        save(path, *stored)
                else:
                    self.total -= self.amount.evaluations // self.amount.images
                    stored_seconds += stored[1]
                found[one.name].append(stored[0])
                seconds[one.name] += stored[1]
            identities.append(chosen.identity)
        if not identities:
            raise DataError(
                f"none of {self.images.looked_at} images is classified correctly by every model; try --filter all, or "
                "another --split"
            )
        if len(identities) < self.amount.images:
            reason = "the time is over" if late else f"{self.images.looked_at} images hold no more that qualify"
            say(f"measured on {len(identities)} instead of {self.amount.images} images: {reason}", doubtful=True)
        return self._result(found, seconds, identities)

    def _draw(self, chosen: Chosen, amount: Amount) -> tuple[Any, Any]:
        n, seed = amount.grid**2, f"{self.settings['seed']} {chosen.identity}"
        pairs = sample_pairs(amount.grid, amount.pairs, seed)
        return pairs, sample_contexts(n, pairs, published_orders(n), amount.contexts, seed)

    def _interactions(
        self, one: Subject, chosen: Chosen, amount: Amount, pairs: Any, contexts: Any, watched: bool = False
    ) -> Interactions:
        image = input_of(one.preprocessing, chosen.sample.image).to(one.device)
        absent = baseline_of(self.settings["baseline"], image, self.means.get(one.name, torch.zeros(len(image))))
        label = one.classes[chosen.sample.target]
        value = MaskedImage(one.run, image, absent, label, self.settings["reward"], amount.grid)
        if watched:
            value.watch = lambda done: self.watch(done, self.total)
        try:
            return pair_interactions(value, pairs, contexts, batch_size=self.batches[one.name])
        except InteractionError as error:
            raise InteractionError(f"{one.name} on {chosen.sample.name}: {error}") from None

    def _path(self, one: Subject, chosen: Chosen) -> Path | None:
        what = (one.identity, one.runtime, one.precision, one.preprocessing.model_dump_json(), one.classes)
        means = self.means[one.name].tolist() if one.name in self.means else None
        folder = self.files.model(one.name, repr((what, means, self.batches[one.name])))
        return None if folder is None else folder / f"{chosen.identity[:32]}-{chosen.sample.target}.npz"

    def _result(
        self, found: dict[str, list[Interactions]], seconds: dict[str, float], images: list[str]
    ) -> dict[str, Any]:
        curves = {name: strength(of_images) for name, of_images in found.items()}
        models = [
            describe(one, curves[one.name], found[one.name], seconds[one.name], self.batches[one.name])
            for one in self.subjects
        ]
        first, *others = self.subjects
        result: dict[str, Any] = {
            **{name: value for name, value in self.settings.items() if name != "images"},
            "images": len(images),
            "images_looked_at": self.images.looked_at,
            "players": self.amount.grid**2,
            "level": curves[first.name].level,
            "models": models,
            "comparisons": [compared(first.name, one.name, curves) for one in others],
            "image_ids": images,
        }
        if self.plan is not None:
            result["plan"] = vars(self.plan)
        if self.files.folder is not None:
            write_results(self.files.folder, result)
            result["out"] = str(self.files.folder)
        return result


def _check(asked: dict[str, Any], budget: float | None, subjects: Sequence[Subject]) -> None:
    """Raise ConfigError for amounts that can't be."""
    for name, value in asked.items():
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; give at least 1")
    if budget is not None and budget <= 0:
        raise ConfigError(f"the budget is {budget} seconds; give more, say 10m")
    for one in subjects:
        if asked["grid"] > min(one.preprocessing.size):
            size = "x".join(map(str, one.preprocessing.size))
            raise ConfigError(
                f"a grid of {asked['grid']} patches a side is finer than {one.name}'s {size} pixels; ask for a coarser "
                "one, or a larger --size"
            )


def _shape(one: Subject) -> tuple[int, int, int]:
    return one.preprocessing.channels, *one.preprocessing.size
