"""`train`: a recipe and a data set become a run's folder with trained weights."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from moganet.config import Recipe, ShortOptions, sets, with_short
from moganet.data.once import open_once
from moganet.errors import ConfigError
from moganet.launchers import is_first_launched, refuse_to_begin_again
from moganet.machine import num_cores
from moganet.notices import heard, noted, say
from moganet.numbers import count
from moganet.processors import choice_of_threads, do_sleep, threaded
from moganet.tasks.recipes import load_recipe
from moganet.training.hosts import ends_told
from moganet.training.run_log import RunLog, logged

if TYPE_CHECKING:
    from moganet.config import ResolvedRecipe
    from moganet.data import Dataset
    from moganet.data.in_python import ClassNames, Data
    from moganet.training.outcome import TrainResult

# What trains is imported where it is used, torch and Lightning with it: what is wrong with a recipe is said at once,
# and what begins too, before the seconds that this takes.
logger = logging.getLogger(__name__)
REPORT_SWITCH = "MOGANET_REPORT"  # "off" in the environment leaves the page to `moganet report`


class _Asked(NamedTuple):
    """What is trained, as `prepare` takes it."""

    recipe: str | Path
    data: "Data | None"
    overrides: Mapping[str, Any]
    start: str | Path | None


class _How(NamedTuple):
    """What becomes of a run that the folder holds, and whether the batch size is found first."""

    overwrite: bool
    resume: bool
    find_batch: bool


@noted
@threaded
def train(
    recipe: str | Path,
    data: "Data | None" = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    out: str | Path | None = None,
    *,
    class_names: "ClassNames | None" = None,
    start: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    find_batch: bool = False,
    threads: int | None = None,
    **short: Unpack[ShortOptions],
) -> "TrainResult | None":
    """Train a network and leave a run's folder.

    recipe: the name of one that ships, or a YAML file. data: SOURCE[:PATH] or a path, in the recipe's place; or
        a data set of your own, or a dict of them by split, as in `open_data`, with class_names where it names none.
    overrides: dotted keys to values, or "key=value" texts. out: the run's folder itself (default: runs/RECIPE-N).
    start: a MODEL whose weights to start from, or "none" for fresh ones where the recipe would start from others.
    find_batch: let Lightning's finder choose data.batch_size first; the choice is written into the run's recipe.
    threads: with how many it computes [as many as this process may use].
    short: epochs, batch_size, lr, size, seed, workers, network, freeze_epochs, interactions_every, device ("cpu",
        "cuda", "cuda:1", "mps"): settings by a short word; the learning rate is not scaled with the batch, unless the
        recipe says so (optimizer.lr_per).
    resume: go on from the last save of the run in `out`, to the same weights as if it had never stopped; without one
        begin; a finished run is left as it is, unless the call asks for more epochs than it has: then it goes on to
        these, finished or not, at the learning rate of a run so long from its beginning.
    The folder holds recipe.yaml, train.log, metrics.csv, tensorboard/, last.ckpt, best.safetensors, last.safetensors,
    curves.png and, at the end, report.html (unless the recipe's `report` is false) and result.json,
    which is what is given back (None on processes other than the first).
    Raises ConfigError, DataError, WeightsError or OutputError before anything is written; TrainingError for a run that
    can't go on; KeyboardInterrupt after it has saved what there is.
    """
    refuse_to_begin_again()
    if resume and out is None:
        raise ConfigError("--resume needs the run's folder; say which with --out")
    if resume and overwrite:
        raise ConfigError("--resume goes on with a run, --overwrite removes it; give one of them")
    changes = with_short(overrides, short)
    with ends_told(), logged() as log:
        _announce(load_recipe(recipe, changes), data, out, start, goes_on=resume)
        asked = _Asked(recipe, open_once(data, class_names), changes, start)
        if out is None:
            return _train_anew(asked, find_batch=find_batch, log=log)
        return _train_in(Path(out), asked, _How(overwrite, resume, find_batch), log)


def _train_anew(asked: _Asked, *, find_batch: bool, log: RunLog) -> "TrainResult | None":
    from moganet.training.resolve import prepare
    from moganet.training.run_folder import claim_folder, own_folder

    settings, dataset = prepare(*asked)
    folder = claim_folder(settings.name)
    with own_folder(folder, claimed=True):
        return _begin(settings, dataset, folder, log, find_batch=find_batch)


def _train_in(folder: Path, asked: _Asked, how: _How, log: RunLog) -> "TrainResult | None":
    from moganet.training.lengthen import LENGTH, open_again
    from moganet.training.outcome import read_result
    from moganet.training.resolve import prepare
    from moganet.training.resume import read_run, same_run
    from moganet.training.run import train_to_end
    from moganet.training.run_folder import RESULT_FILE, own_folder, refuse_full
    from moganet.training.signals import is_first_process

    with own_folder(folder):
        old = read_run(folder) if how.resume else None
        if old is None:
            refuse_full(folder, overwrite=how.overwrite or how.resume)
        settings, dataset = prepare(*asked, resumed=old)
        if old is None:
            return _begin(settings, dataset, folder, log, find_batch=how.find_batch)
        longer = sets(asked.overrides, LENGTH)
        settings = same_run(folder, old, settings, dataset, found_batch=how.find_batch, longer=longer)
        if settings.trainer.max_epochs > old.trainer.max_epochs:
            open_again(folder, settings)
        elif (folder / RESULT_FILE).is_file():
            return read_result(folder) if is_first_process() else None
        return _finish(settings, dataset, train_to_end(settings, dataset, folder, log, resumed=True), log)


def _announce(settings: Recipe, data: "Data | None", out: str | Path | None, start: Any, *, goes_on: bool) -> None:
    """Say what begins, as far as the recipe tells it; what the images and the weights say follows."""
    if not is_first_launched():
        return
    height, width = settings.preprocessing.size
    source = settings.data.source if data is None else getattr(data, "spec", data)
    source = source if isinstance(source, str | os.PathLike) else f"a {type(source).__name__} of yours"
    weights = start or settings.start.model
    of_file = weights not in (None, "none", "pretrained")  # which says what network it is
    place = "a new folder in runs" if out is None else os.fspath(out)
    number, why = choice_of_threads()
    on = "" if settings.trainer.accelerator == "auto" else f" on {settings.trainer.accelerator}"
    on += f" with {count(number, 'thread')}" + (f" ({why})" if number != num_cores() else "")
    on += "; its threads sleep while they wait, since others compute here" if do_sleep() else ""
    logger.info(
        "%s %s by the recipe %s: %s at %dx%d pixels%s, into %s%s; PyTorch is being loaded",
        "going on with" if goes_on else "training",
        f"the network of {weights}" if of_file else settings.network.name,
        settings.name,
        source,
        height,
        width,
        ", from pretrained" if weights == "pretrained" else "",
        place,
        on,
    )


def _begin(
    settings: "ResolvedRecipe", dataset: "Dataset", folder: Path, log: RunLog, *, find_batch: bool
) -> "TrainResult | None":
    from moganet.training.run import train_to_end
    from moganet.training.run_folder import say_inside

    say_inside(folder, dataset)
    if find_batch:
        from moganet.training.batch_size import find_batch_size

        settings = find_batch_size(settings, dataset)
    return _finish(settings, dataset, train_to_end(settings, dataset, folder, log, resumed=False), log)


def _finish(
    settings: "ResolvedRecipe", dataset: "Dataset", result: "TrainResult | None", log: RunLog
) -> "TrainResult | None":
    """Write what is left to write: what tells unlike images, the run's page, and last its result."""
    from moganet.engine.report import keep_guard
    from moganet.inference.load import load
    from moganet.training.outcome import write_result
    from moganet.training.run_folder import BEST_FILE

    if result is None:
        return None
    best = Path(result.out) / BEST_FILE
    device = settings.trainer.accelerator
    keep_guard(best, load(best, "eager", device=device), dataset, settings.data.workers)
    if settings.report and os.environ.get(REPORT_SWITCH) != "off":
        result = result.changed(report=_report(dataset, settings, result))
    result = result.changed(notes=heard())
    log.write("\n".join(result.lines()))
    write_result(result)
    return result


def _report(dataset: "Dataset", settings: "ResolvedRecipe", result: "TrainResult") -> str | None:
    """Write the run's page, and give its path; None where that can't be done."""
    from moganet.engine.report import write_report

    try:
        how: Any = {"workers": settings.data.workers, "device": settings.trainer.accelerator}
        return str(write_report(result.out, dataset.source, **how, result=result.plain()).report)
    except Exception as error:  # whatever it is: a run of days must not be lost to its page
        say(f"no report was written ({error}); `moganet report {result.out}` tries again", doubtful=True)
        return None
