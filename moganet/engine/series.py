"""`train_folds` and `train_seeds`: one recipe trained several times, and what its runs say together."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from moganet.config import Recipe, ShortOptions, parse_overrides, with_short
from moganet.data.class_names import shown
from moganet.data.once import open_once
from moganet.errors import ConfigError, TrainingError
from moganet.files import to_json, write_text
from moganet.launchers import refuse_to_begin_again
from moganet.notices import heard, noted, say
from moganet.numbers import count
from moganet.progress import Progress, no_progress
from moganet.results import Metric
from moganet.tasks import monitor_named
from moganet.tasks.recipes import load_recipe, task_of
from moganet.training.run_folder import BEST_FILE
from moganet.training.series import (
    DOUBTFUL_FILE,
    PREDICTIONS_FILE,
    Doubtful,
    Member,
    OutOfFold,
    Overrides,
    Series,
    own_series,
    refuse_several,
    summed,
    with_setting,
)

if TYPE_CHECKING:
    from moganet.data.in_python import ClassNames, Data

logger = logging.getLogger(__name__)
MOST = 1000  # runs
FOLDS_FILE, SEEDS_FILE = "folds.json", "seeds.json"
SHOWN = 5  # doubtful labels in a line


class Seeds(Series):
    """What runs of several seeds give together."""

    def lines(self) -> Iterator[str]:
        """Say how it went, a line each."""
        yield self.say_mean(monitor_named(self.metric))
        if self.best is not None:
            yield f"the best is {Path(self.out) / self.best}; as the best of {len(self.runs)} it flatters"
        yield f"results: {self.out} ({SEEDS_FILE})"


class Folds(Series):
    """What runs of several folds give together.

    out_of_fold: of all images, None where no run came to its end; doubtful: None where labels can't be doubted.
    """

    folds: int
    out_of_fold: OutOfFold | None = None
    doubtful: tuple[Doubtful, ...] | None = None

    def lines(self) -> Iterator[str]:
        """Say how it went, a line each."""
        metric, every, files = monitor_named(self.metric), self.out_of_fold, [FOLDS_FILE]
        yield self.say_mean(metric)
        if every is not None:
            files += [PREDICTIONS_FILE]
            what = f"over {every.num_images:,} images, each answered by the model that did not see it"
            yield f"{what}: {every.text(metric)}"
        if self.doubtful is not None:
            files += [DOUBTFUL_FILE]
            named = "; ".join(f"{one.file} ({one.label}, or {one.predicted}?)" for one in self.doubtful[:SHOWN])
            yield f"the models doubt {count(len(self.doubtful), 'label')}{': ' * bool(named)}{named}"
        yield f"results: {self.out} ({', '.join(files)})"


@dataclass(frozen=True)
class _Recipe:
    """What each run is asked for, but for what is its own."""

    recipe: str | Path
    data: "Data | None"
    overrides: Overrides
    start: str | Path | None
    find_batch: bool
    threads: int | None

    def settings(self, option: str, number: int) -> Recipe:
        """Read the recipe. Raises ConfigError where it can't be trained so often, or here."""
        refuse_to_begin_again()
        if not 2 <= number <= MOST:
            raise ConfigError(f"{option} is {number}; give a number from 2 to {MOST:,}")
        settings = load_recipe(self.recipe, self.overrides)
        refuse_several(settings, option)
        return settings

    def train(self, change: Mapping[str, Any], folder: Path, monitor: Metric) -> Member:
        """Train a run, or go on with it; one whose loss is not finite is said."""
        from moganet.engine.train import train
        from moganet.training.signals import RunStopped

        begun = folder.is_dir() and any(path.name[0] != "." for path in folder.iterdir())
        overrides = with_setting(self.overrides, change)
        how: dict[str, Any] = {"resume": begun, "find_batch": self.find_batch, "threads": self.threads}
        try:
            result = train(self.recipe, self.data, overrides, folder, start=self.start, **how)
        except RunStopped as stop:
            how_on = f"go on with the same command and --out {folder.parent} --resume"
            raise RunStopped(f"stopped in {folder.name}; {how_on}", stop.exit_code) from None
        except TrainingError as error:
            say(f"{folder} failed: {error}", doubtful=True)
            return Member(name=folder.name, out=str(folder), error=str(error))
        assert result is not None  # of several processes, none of which there are
        best = result.best
        known = {} if best is None else {"best": best.get(monitor.name), "epoch": best.epoch}
        return Member(name=folder.name, out=str(folder), seconds=result.seconds, **known)

    def train_each(self, changes: Mapping[str, Mapping[str, Any]], folder: Path, monitor: Metric) -> list[Member]:
        """Train a run for each name. monitor: the figure of which each keeps its best."""
        members = []
        for number, (name, change) in enumerate(changes.items(), 1):
            logger.info("%s, %d of %d", name, number, len(changes))
            members.append(self.train(change, folder / name, monitor))
        if all(member.error is not None for member in members):
            raise TrainingError(f"each of the {len(members)} runs failed; the first: {members[0].error}")
        return members


@noted
def train_seeds(
    recipe: str | Path,
    data: "Data | None" = None,
    overrides: Overrides = (),
    out: str | Path | None = None,
    *,
    seeds: int,
    class_names: "ClassNames | None" = None,
    start: str | Path | None = None,
    resume: bool = False,
    find_batch: bool = False,
    threads: int | None = None,
    **short: Unpack[ShortOptions],
) -> Seeds:
    """Train a recipe with its seed and those after it, each into a run's folder of its own in `out`, seed-N.

    recipe, data, class_names, overrides, start, find_batch, threads, short: as in `train`. out: the
    folder of all [default: runs/RECIPE-seeds-N].
    resume: go on where all of it was stopped. What it gives stands in seeds.json too. A run whose loss is not finite is
    said, and leaves the others be. Raises what `train` does.
    """
    overrides = with_short(overrides, short)
    asked = _Recipe(recipe, open_once(data, class_names), overrides, start, find_batch, threads)
    settings = asked.settings("--seeds", seeds)
    monitor = task_of(settings).monitor
    changes = {f"seed-{seed}": {"seed": seed} for seed in range(settings.seed, settings.seed + seeds)}
    with own_series(out, f"{settings.name}-seeds", ("seed-", SEEDS_FILE), goes_on=resume) as folder:
        members = asked.train_each(changes, folder, monitor)
        result = Seeds(out=str(folder), **summed(members, monitor), notes=heard())
        write_text(folder / SEEDS_FILE, to_json(result))
        return result


@noted
def train_folds(
    recipe: str | Path,
    data: "Data | None" = None,
    overrides: Overrides = (),
    out: str | Path | None = None,
    *,
    folds: int,
    class_names: "ClassNames | None" = None,
    start: str | Path | None = None,
    resume: bool = False,
    find_batch: bool = False,
    threads: int | None = None,
    progress: Progress = no_progress,
    **short: Unpack[ShortOptions],
) -> Folds:
    """Train a recipe once for each of several parts of a set, validated on that part and trained on the others.

    The images of "train" and "val" are divided together, by the recipe's seed, in proportion of the classes, with
    groups and copies undivided; those of "test" are left alone. Each run has a folder in `out`, fold-N. There lie
    out-of-fold.csv (each image's answer of the model that did not see it), doubtful.csv (labels that look wrong, by
    cleanlab) and folds.json, which is what is given back. The rest is as in `train_seeds`.
    """
    overrides = with_short(overrides, short)
    asked = _Recipe(recipe, open_once(data, class_names), overrides, start, find_batch, threads)
    settings = asked.settings("--folds", folds)
    if not (task := task_of(settings)).judges:  # said before hours of training, not after
        what = f"--folds tells which images are answered right, which the task {task.name} does not know"
        raise ConfigError(f"{what}; train each part by --set data.validation=1/{folds} and so on")
    if "data.validation" in parse_overrides(overrides):
        raise ConfigError("--folds holds back each part in its turn; leave out data.validation")
    changes = {f"fold-{part}": {"data.validation": f"{part}/{folds}"} for part in range(1, folds + 1)}
    allowed = ("fold-", FOLDS_FILE, PREDICTIONS_FILE, DOUBTFUL_FILE)
    with own_series(out, f"{settings.name}-folds", allowed, goes_on=resume) as folder:
        members = asked.train_each(changes, folder, task.monitor)
        answered = _answered(members, settings, asked.data, progress)
        result = Folds(out=str(folder), folds=folds, **summed(members, task.monitor), **answered, notes=heard())
        write_text(folder / FOLDS_FILE, to_json(result))
        return result


def _answered(members: Sequence[Member], settings: Recipe, data: "Data | None", progress: Progress) -> dict[str, Any]:
    """Let each fold's model answer for its part, and give what all answers say together."""
    from moganet.data import open_data
    from moganet.inference.load import load
    from moganet.training.out_of_fold import answer_fold, find_doubtful, write_predictions

    dataset = open_data(settings.data.source if data is None else data)
    dataset = dataset.with_white_level(settings.preprocessing.white_level)
    whole, parts = dataset.undivided(), []
    for part, member in enumerate(members, 1):
        if member.error is None:
            predictor = load(Path(member.out) / BEST_FILE, "eager")
            how = settings.data.batch_size, settings.data.workers, progress
            parts.append(answer_fold(predictor, dataset, whole, (part, len(members)), settings.seed, how))
    _say_rare(dataset.class_names, whole.targets.counts(len(dataset.class_names)).tolist(), len(members))
    folder = Path(members[0].out).parent
    predictions = write_predictions(parts, dataset, whole, folder)
    return {"out_of_fold": predictions, "doubtful": find_doubtful(parts, dataset, whole, folder)}


def _say_rare(names: Sequence[str], counts: Sequence[int], folds: int) -> None:
    """Say which classes have fewer images than there are folds."""
    rare = [f"{name} {number}" for name, number in zip(names, counts, strict=True) if number < folds]
    if rare:
        what = f"fewer images than the {folds} folds: {shown(rare)}"
        say(
            f"{what}; folds without one measure nothing of such a class, and one image alone is answered by a model "
            "that saw none",
            doubtful=True,
        )
