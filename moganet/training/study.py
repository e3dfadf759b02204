"""A search for settings by Optuna: each trial a run's folder, kept in an SQLite file, to go on from after a kill."""

import json
import logging
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moganet.config import ResolvedRecipe
from moganet.data import Dataset
from moganet.errors import ConfigError, MissingExtraError, OutputError, first_line, import_extra
from moganet.notices import say
from moganet.results import Metric
from moganet.training.outcome import TrainResult, read_result, write_result
from moganet.training.ranges import Space
from moganet.training.resume import read_run, same_run
from moganet.training.run import train_to_end
from moganet.training.run_folder import CHECKPOINT_FILE, RESULT_FILE, own_folder
from moganet.training.run_log import logged
from moganet.training.signals import RunStopped

logger = logging.getLogger(__name__)
STUDY_FILE, STUDY = "study.db", "moganet"
STARTUP = 5  # trials before one is pruned
Values = dict[str, Any]


@dataclass(frozen=True)
class Search:
    """What is searched.

    spaces: what may be chosen; own: the recipe's own values; resolve: from values to a whole recipe. epochs: of a
    trial, before `warm` of which none is pruned. asked: all that must be the same where a search goes on, in words.
    """

    spaces: Sequence[Space]
    own: Mapping[str, Any]
    resolve: Callable[[Values], ResolvedRecipe]
    dataset: Dataset
    metric: Metric
    seed: int
    epochs: int
    warm: float
    asked: Mapping[str, str]

    def values(self, trial: Any) -> Values:
        """Draw a trial's values; one that goes on has them already."""
        return {space.key: space.draw(trial) for space in self.spaces}

    def first(self) -> Values | None:
        """Give what stands for the recipe's own values in a study, None where one lies outside what is searched."""
        held = {space.key: space.holds(self.own.get(space.key)) for space in self.spaces}
        return None if None in held.values() else held


@contextmanager
def quiet() -> Iterator[Any]:
    """Give optuna, which says nothing of its own within the block. Raises MissingExtraError."""
    optuna = import_extra("optuna", "moganet tune", "tune")
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="optuna.*")
            yield optuna
    finally:
        optuna.logging.set_verbosity(before)


def open_study(folder: Path, search: Search, optuna: Any) -> Any:
    """Open or begin the study in a folder. Raises ConfigError for one of another search, or a file that is none."""
    path, new = folder / STUDY_FILE, not (folder / STUDY_FILE).exists()
    pruner = optuna.pruners.MedianPruner(STARTUP, n_warmup_steps=max(1, round(search.warm * search.epochs)))
    direction = "maximize" if search.metric.mode == "max" else "minimize"
    how = {"study_name": STUDY, "direction": direction, "pruner": pruner, "load_if_exists": True}
    try:
        # A path is no part of an address here: it may hold any characters.
        storage = optuna.storages.RDBStorage("sqlite://", engine_kwargs={"creator": lambda: _connect(path)})
        study = optuna.create_study(storage=storage, **how)
    except Exception as error:  # of sqlite3, SQLAlchemy and Optuna
        raise ConfigError(f"{path} can't be used ({first_line(error)}); choose another --out") from None
    if new or not study.user_attrs:
        study.set_user_attr("asked", json.dumps(dict(search.asked)))
        if (first := search.first()) is not None:
            study.enqueue_trial(first)
        return study
    before = json.loads(study.user_attrs["asked"])
    for what, value in search.asked.items():
        if what in before and before[what] != value:
            is_not = f"{what} {_cut(before[what])} there and {_cut(value)} here"
            raise ConfigError(f"{folder} holds another search: {is_not}; choose another --out")
    return study


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:199]}…"


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=60, check_same_thread=False)


def search_on(study: Any, search: Search, trials: int, folder: Path, optuna: Any) -> None:
    """Go on with the trial that was cut off, then begin others until there are so many."""
    states = optuna.trial.TrialState
    while True:
        every = study.get_trials(deepcopy=False)
        open_ones = [trial for trial in every if trial.state == states.RUNNING]
        if not open_ones and sum(trial.state.is_finished() for trial in every) >= trials:
            return
        # A sampler of its own each: what is drawn depends on the trials before, not on interruptions.
        number = open_ones[0].number if open_ones else sum(trial.state != states.WAITING for trial in every)
        study.sampler = optuna.samplers.TPESampler(seed=search.seed + number)
        trial = optuna.trial.Trial(study, open_ones[0]._trial_id) if open_ones else study.ask()
        _run_trial(study, trial, search, (trials, folder), optuna)


def _run_trial(study: Any, trial: Any, search: Search, within: tuple[int, Path], optuna: Any) -> None:
    (trials, folder), states = within, optuna.trial.TrialState
    values = search.values(trial)
    said = ", ".join(f"{key}={value}" for key, value in values.items())
    logger.info("trial %d of %d: %s", trial.number + 1, trials, said)
    trial.set_user_attr("settings", json.dumps(values))
    known = set(study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def watch(epoch: int, figure: float) -> bool:
        if epoch - 1 not in known:  # Optuna counts from 0
            trial.report(figure, epoch - 1)
        return bool(trial.should_prune())

    place = folder / f"trial-{trial.number + 1}"
    try:
        settings = search.resolve(values)
        result = train_trial(settings, search.dataset, place, watch)
    except RunStopped as stop:
        how = f"the same command with --out {folder} goes on"
        raise RunStopped(f"stopped in trial {trial.number + 1} of {trials}; {how}", stop.exit_code) from None
    except (OutputError, MissingExtraError):  # which the next one would meet too
        raise
    except optuna.exceptions.StorageInternalError as error:
        how = "mend that, then the same command goes on"
        raise OutputError(f"can't write {folder / STUDY_FILE}: {first_line(error)}; {how}") from None
    except Exception as error:  # of a network with any settings
        trial.set_user_attr("error", first_line(error))
        study.tell(trial, state=states.FAIL)
        say(f"trial {trial.number + 1} failed: {first_line(error)}", doubtful=True)
        return
    trial.set_user_attr("epochs", result.epochs)
    trial.set_user_attr("seconds", result.seconds)
    best = None if result.best is None else result.best.get(search.metric.name)
    if result.epochs < settings.trainer.max_epochs and trial.should_prune():
        study.tell(trial, state=states.PRUNED)
        logger.info(
            "trial %d is behind the median of those before after epoch %d: it ends", trial.number + 1, result.epochs
        )
        return
    if best is None:
        trial.set_user_attr("error", "nothing was measured in validation; a trial needs an epoch at least")
    study.tell(trial, best, state=states.COMPLETE if best is not None else states.FAIL)
    if best is not None:
        logger.info("trial %d: %s %s", trial.number + 1, search.metric.short, search.metric.text(best))


def train_trial(
    settings: ResolvedRecipe, dataset: Dataset, folder: Path, watch: Callable[[int, float], bool]
) -> TrainResult:
    """Train a trial, or go on with it; it keeps no state to go on from when it is done."""
    with own_folder(folder):
        old = read_run(folder) if folder.is_dir() else None
        if old is not None:
            settings = same_run(folder, old, settings, dataset, found_batch=False, longer=False)
            if (folder / RESULT_FILE).is_file():
                return read_result(folder)
        read = dataset.with_white_level(settings.preprocessing.white_level)
        with logged() as log:
            result = train_to_end(settings, read, folder, log, resumed=old is not None, watch=watch)
        assert result is not None  # of several processes, none of which there are
        write_result(result)
        (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
        return result
