"""The report's pictures of errors, of close calls, and of labels that look wrong."""

import warnings
from collections.abc import Sequence

import numpy as np

from moganet.errors import DataError, MogaNetError, import_extra
from moganet.numbers import percent
from moganet.report.page import Section
from moganet.tasks.classify.classified import ROOM, Classified, show
from moganet.tasks.report import Seen, in_parts

MAX_EXPLAINED = 12  # errors, and as many close calls
MAX_DOUBTFUL = 24


def errors_section(seen: Seen, given: Classified) -> Section:
    """Show errors and close calls, each with where the network looked."""
    errors, hits = (choose(given, correct=correct) for correct in (False, True))
    chosen = np.concatenate([errors, hits])
    heats, left_out = seen.explained(given.answers, chosen, given.predicted[chosen])
    names, album = seen.class_names, seen.album
    content = {
        "errors": show(given, errors, names, album, heats[: len(errors)]),
        "hits": show(given, hits, names, album, heats[len(errors) :]),
    }
    title = say_errors(given.confidence, given.correct)
    return Section("Errors and close calls", title, f"{ROOM}/errors.html", content, left_out=left_out)


def choose(given: Classified, *, correct: bool) -> np.ndarray:
    """Give the right answers made with least confidence, or the errors made with most."""
    found = np.flatnonzero(given.correct == correct)
    order = np.argsort((1 if correct else -1) * given.confidence[found], kind="stable")
    return found[order][:MAX_EXPLAINED]


def say_errors(confidence: np.ndarray, correct: np.ndarray) -> str:
    """Say how many errors are made with confidence."""
    errors = confidence[~correct]
    if not len(errors):
        return "It makes no error"
    sure = int((errors > 0.9).sum())
    if len(errors) == 1:
        return f"It makes one error, being {percent(errors[0], 0)} sure"
    how = "none of them" if not sure else f"{sure:,} of them"
    return f"It makes {len(errors):,} errors, {how} more than 90 % sure"


def labels_section(seen: Seen, fresh: Sequence[Classified], accuracy: float) -> tuple[Section, int | None]:
    """Show the most doubtful labels; give their number too, None where none can be told."""
    try:
        found = find_doubtful(fresh)
    except MogaNetError as error:
        reason = f"{str(error)[0].upper()}{str(error)[1:]}."
        return Section("Labels", left_out={"labels": reason}), None
    shown = [show(fresh[part], [number], seen.class_names, seen.album)[0] for part, number in found[:MAX_DOUBTFUL]]
    title = say_labels(len(found), sum(len(part.labels) for part in fresh))
    content = {"shown": shown, "number": len(found), "accuracy": accuracy}
    return Section("Labels", title, f"{ROOM}/labels.html", content), len(found)


def find_doubtful(parts: Sequence[Classified]) -> list[tuple[int, int]]:
    """Give the images whose labels look wrong, the most doubtful first, as (part, number in it).

    By confident learning (Northcutt et al. 2021) on images that were not trained on. Raises MissingExtraError, or
    DataError where there are none.
    """
    if not parts:
        raise DataError("suspected label errors are looked for on images that were not trained on (--split test)")
    find_label_issues = import_extra("cleanlab.filter", "looking for label errors", "report").find_label_issues
    labels = np.concatenate([part.labels for part in parts])
    probabilities = np.concatenate([part.probabilities for part in parts])
    if probabilities.shape[1] < 2 or len(np.unique(labels)) < 2:
        raise DataError("suspected label errors need images of at least two classes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about classes with few images
        ranked = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return in_parts(ranked, [len(part.labels) for part in parts])


def say_labels(issues: int, examined: int) -> str:
    """Say how many labels the network doubts; a weak one doubts many that are right."""
    return f"The network doubts {f'{issues:,}' if issues else 'none'} of {examined:,} labels"
