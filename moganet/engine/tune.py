"""`tune`: a search for the settings by which a recipe validates best on a data set."""

import json
import logging
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from moganet.config import Recipe, ResolvedRecipe, ShortOptions, flat, parse_overrides, with_short
from moganet.data.once import open_once
from moganet.errors import ConfigError, TrainingError, first_line, import_extra
from moganet.files import to_json, write_text
from moganet.launchers import refuse_to_begin_again
from moganet.notices import heard, noted, say
from moganet.processors import threaded
from moganet.results import Metric, Record, Result
from moganet.tasks import monitor_named
from moganet.tasks.recipes import load_recipe, task_of
from moganet.training.ranges import Choice, Space, read_spaces, usual_spaces
from moganet.training.run_folder import folder_name
from moganet.training.series import Overrides, as_texts, own_series, refuse_several, with_setting

if TYPE_CHECKING:
    from moganet.data.in_python import ClassNames, Data

logger = logging.getLogger(__name__)
RESULT_FILE, PICTURE = "tune.json", "tune.png"
MOST = 100_000  # trials
WARM = 0.2  # of a trial's epochs, before it is pruned
OF_TRIALS = {"report": False, "logger": ["csv"]}  # what a trial writes beside its weights would only take time


class Trial(Record):
    """A trial: the settings that it was trained with, and the best figure of its validation.

    state: complete, pruned (behind the median of those before, after `epochs`), or failed, for the reason in `error`.
    """

    number: int
    state: str
    settings: Mapping[str, Any]
    value: float | None = None
    epochs: int | None = None
    seconds: float | None = None
    error: str | None = None
    out: str


class Tuned(Result):
    """What a search found.

    metric: what `value` is, in validation. searched: what was drawn from what, in words. best: its trial's number.
    command: trains a run with the best trial's settings. importance: of each setting for the figure, in all 1; None
    where too few trials tell. picture: of both, None where there is none. seconds: of all trials.
    """

    out: str
    metric: str
    searched: tuple[str, ...]
    trials: tuple[Trial, ...]
    best: int
    value: float
    settings: Mapping[str, Any]
    command: str
    importance: Mapping[str, float] | None
    picture: str | None
    seconds: float

    @property
    def of(self) -> Metric:
        """Give the metric that is searched by."""
        return monitor_named(self.metric)

    def lines(self) -> Iterator[str]:
        """Say what was found, a line each."""
        states = [trial.state for trial in self.trials]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        yield f"{len(states)} trials ({counts}) in {self.seconds:.0f} s"
        if self.importance:
            yield "importance: " + ", ".join(f"{key} {share:.2f}" for key, share in self.importance.items())
        value = f"{self.of.short} {self.of.text(self.value)}"
        yield f"the best is trial {self.best}, {value} in validation; as the best of {len(states)} it flatters"
        yield f"results: {self.out} ({RESULT_FILE}{f', {PICTURE}' if self.picture else ''})"
        yield f"to train with its settings: {self.command}"


@noted
@threaded
def tune(
    recipe: str | Path,
    data: "Data | None" = None,
    trials: int = 20,
    ranges: Sequence[str] | Mapping[str, Any] = (),
    overrides: Overrides = (),
    out: str | Path | None = None,
    *,
    class_names: "ClassNames | None" = None,
    start: str | Path | None = None,
    threads: int | None = None,
    **short: Unpack[ShortOptions],
) -> Tuned:
    """Search for settings by trainings that are validated on the same held-back images; test images are no part.

    trials: how many in all, those of before among them where `out` holds the search already: it goes on then, and with
    the trial that was cut off. ranges: "KEY=LOW..HIGH" (drawn by the logarithm where the ends are above 0 and differ
    by a factor of ten, else evenly; ":log" or ":linear" behind says otherwise; whole numbers where the setting takes no
    others) or "KEY=A,B,C", or a mapping of settings to such texts or lists; without any the learning rate and the
    weight decay are searched. recipe, data, class_names, overrides, start, threads, short: as in
    `train`. out: the folder of all [default: runs/RECIPE-tune].

    Optuna's tree-structured Parzen estimator draws; the first trial has the recipe's own values where they lie within.
    Its median pruner ends what falls behind. A trial that fails is said, and the search goes on.
    Raises MissingExtraError without Optuna, ConfigError, DataError, OutputError, TrainingError where no trial came to
    its end, and KeyboardInterrupt.
    """
    refuse_to_begin_again()
    import_extra("optuna", "moganet tune", "tune")
    if not 1 <= trials <= MOST:
        raise ConfigError(f"--trials is {trials}; give a number from 1 to {MOST:,}")
    overrides = with_short(overrides, short)
    settings, spaces = _read(recipe, overrides, ranges)
    data = open_once(data, class_names)
    place = Path("runs") / f"{folder_name(settings.name)}-tune" if out is None else Path(out)
    with own_series(place, settings.name, ("trial-", "study.db", RESULT_FILE, PICTURE), goes_on=True) as folder:
        say("searched: " + "; ".join(space.text() for space in spaces) + "; choose otherwise by --set-range")
        found = _searched(partial(_load, recipe, overrides, start), spaces, data, trials, folder)
        found_settings = with_setting(overrides, found["settings"])
        named = "" if class_names is None else f", class_names={class_names!r}"
        command = _command(recipe, data, found_settings, start, named)
        result = Tuned(out=str(folder), command=command, **found, notes=heard())
        write_text(folder / RESULT_FILE, to_json(result))
        return result


def _read(recipe: str | Path, overrides: Overrides, ranges: Any) -> tuple[Recipe, tuple[Space, ...]]:
    settings = load_recipe(recipe, overrides)
    refuse_several(settings, "moganet tune")
    spaces = read_spaces(
        ranges, lambda values: load_recipe(recipe, with_setting(overrides, values)), list(parse_overrides(overrides))
    )
    return settings, spaces or usual_spaces(settings)


def _load(recipe: str | Path, overrides: Overrides, start: str | Path | None, values: Mapping[str, Any]) -> Recipe:
    settings = load_recipe(recipe, with_setting(overrides, {**values, **OF_TRIALS}))
    return settings if start is None else settings.changed(start=settings.start.changed(model=str(start)))


def _searched(load: Any, spaces: tuple[Space, ...], data: "Data | None", trials: int, folder: Path) -> dict[str, Any]:
    """Search, and give what Tuned says of it."""
    from moganet.training.resolve import open_divided, resolve
    from moganet.training.resume import FREE_SETTINGS
    from moganet.training.study import Search, open_study, quiet, search_on

    settings = load({})
    if settings.data.validation == "test":
        what = "the recipe validates on test images, which a search must not see"
        raise ConfigError(f"{what}; hold back a part of the others by --set data.validation=0.1")
    dataset = open_divided(settings.data.source if data is None else data, settings)
    if dataset.splits.get("test") is dataset.split("val"):
        raise ConfigError(f"{dataset.spec} validates on its test images; hold back others by --set data.validation=0.1")
    unsearched = resolve(settings, dataset, None)
    own = flat(unsearched.model_dump(mode="json"))
    fixed = {key: json.dumps(value) for key, value in own.items() if key not in FREE_SETTINGS}
    searched = {space.key for space in spaces}
    asked = {f"{key} is": value for key, value in fixed.items() if key not in searched}
    asked |= {
        "searched is": "; ".join(space.text() for space in spaces),
        "the hash of images is": dataset.fingerprint(),
    }
    if not searched & {"data.batch_size", "trainer.accumulate"}:
        asked["images a step are"] = str(unsearched.images_a_step)
    metric = task_of(settings).monitor

    def whole(values: Mapping[str, Any]) -> ResolvedRecipe:
        return resolve(load(values), dataset, None)

    _try_choices(spaces, whole)
    length = settings.trainer.max_epochs, max(WARM, settings.schedule.warmup)
    search = Search(spaces, own, whole, dataset, metric, settings.seed, *length, asked)
    with quiet() as optuna:
        study = open_study(folder, search, optuna)
        if before := sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False)):
            say(f"{folder} holds {before} trials of this search: it goes on to {max(trials, before)}")
        search_on(study, search, trials, folder, optuna)
        return _said(study, spaces, metric, folder, optuna)


def _try_choices(spaces: tuple[Space, ...], whole: Callable[[Mapping[str, Any]], ResolvedRecipe]) -> None:
    """Raise ConfigError for a value that no run can begin with."""
    from moganet.models.build import build_blank

    for space in spaces:
        for value in space.every() if isinstance(space, Choice) else ():
            resolved = whole({space.key: value})
            if space.key.startswith("network"):
                build_blank(resolved.network)


def _said(study: Any, spaces: tuple[Space, ...], metric: Metric, folder: Path, optuna: Any) -> dict[str, Any]:
    every = [_trial(trial, folder) for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    if all(trial.state != "complete" for trial in every):
        errors = [trial.error for trial in every if trial.error]
        first = errors[0] if errors else "pruned"
        raise TrainingError(f"none of {len(every)} trials came to its end (the first: {first}); choose another --out")
    best = every[[trial.number for trial in every].index(study.best_trial.number + 1)]
    importance = _importance(study, optuna)
    return {
        "metric": metric.name,
        "searched": tuple(space.text() for space in spaces),
        "trials": tuple(every),
        "best": best.number,
        "value": best.value,
        "settings": best.settings,
        "importance": importance,
        "picture": _draw(every, importance, metric, folder),
        "seconds": sum(trial.seconds or 0.0 for trial in every),
    }


def _trial(trial: Any, folder: Path) -> Trial:
    attributes, state = trial.user_attrs, {"FAIL": "failed"}.get(trial.state.name, trial.state.name.lower())
    known = {key: attributes[key] for key in ("epochs", "seconds", "error") if key in attributes}
    return Trial(
        number=trial.number + 1,
        state=state,
        settings=json.loads(attributes.get("settings", "{}")),
        value=trial.value,
        out=str(folder / f"trial-{trial.number + 1}"),
        **known,
    )


def _importance(study: Any, optuna: Any) -> dict[str, float] | None:
    """Give each setting's share of what the figures differ by; None where that can't be told."""
    try:
        shares = optuna.importance.get_param_importances(study)
    except Exception as error:  # too few trials, all alike, or what its estimators meet
        say(f"no importance is told: {first_line(error)}")
        return None
    return {key: float(share) for key, share in shares.items()}


def _draw(every: Sequence[Trial], importance: Mapping[str, float] | None, metric: Metric, folder: Path) -> str | None:
    from moganet.report.studies import draw_study

    points = [(trial.number, trial.value, trial.state) for trial in every if trial.value is not None]
    draw_study(points, importance or {}, folder / PICTURE, metric)
    return str(folder / PICTURE)


def _command(
    recipe: str | Path, data: "Data | None", overrides: Mapping[str, Any], start: str | Path | None, named: str
) -> str:
    """Give what trains so: a command, or a call in Python for a caller's own data set, which no command can name."""
    if data is not None and not isinstance(data, str | os.PathLike):
        begun = "" if start is None else f", start={str(start)!r}"
        return f"moganet.train({str(recipe)!r}, data, {dict(overrides)!r}{begun}{named})"
    words, pairs = ["moganet", "train", str(recipe)], as_texts(overrides)
    words += [] if data is None else ["--data", str(data)]
    words += [] if start is None else ["--from", str(start)]
    return shlex.join(words + [word for pair in pairs for word in ("--set", pair)])
