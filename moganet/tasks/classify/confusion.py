"""The confusion matrix: what each class was taken for, as a section whose cells open images."""

from collections.abc import Mapping, Sequence

import numpy as np

from moganet.report.confusion import MAX_WRITTEN, SHORT
from moganet.report.drawing import captions
from moganet.report.page import Section, Shown
from moganet.tasks.classify.classified import ROOM, Classified
from moganet.tasks.report import Album

WIDEST = 40  # digits of a row up to which its numbers fit side by side on a telephone
MAX_SHOWN = 100  # classes on the page; of more, those with most errors
MAX_OF_CELL, MAX_OF_DIAGONAL = 12, 6  # pictures


def matrix_section(
    matrix: np.ndarray, names: Sequence[str], cells: Mapping[tuple[int, int], Sequence[Shown]]
) -> Section:
    """Show counts (classes, classes), rows the truth; a cell with pictures opens them."""
    shown = np.arange(len(names))
    if len(names) > MAX_SHOWN:
        wrong = matrix.sum(0) + matrix.sum(1) - 2 * np.diag(matrix)
        shown = np.sort(np.argsort(-wrong, kind="stable")[:MAX_SHOWN])
    rows = []
    for truth in shown.tolist():
        total = max(int(matrix[truth].sum()), 1)
        counts = {predicted: int(matrix[truth, predicted]) for predicted in shown.tolist()}
        rows.append((truth, [(p, n, round((n / total) ** 0.5, 3), (truth, p) in cells) for p, n in counts.items()]))
    digits = len(f"{matrix[np.ix_(shown, shown)].max(initial=0)}")
    content = {
        "class_names": list(names),
        "short": dict(zip(shown.tolist(), captions([names[i] for i in shown.tolist()], SHORT), strict=True)),
        "upright": len(shown) * digits > WIDEST,
        "shown": shown.tolist(),
        "rows": rows,
        "written": len(shown) <= MAX_WRITTEN,
        "opened": {f"{t},{p}": [(one.picture, one.caption) for one in some] for (t, p), some in cells.items()},
    }
    files = (f"{ROOM}/matrix.css", f"{ROOM}/matrix.js")
    return Section("Confusion", say_confusion(names, matrix), f"{ROOM}/matrix.html", content, *files)


def say_confusion(names: Sequence[str], confusion: np.ndarray) -> str:
    """Name the commonest error."""
    errors = confusion - np.diag(np.diag(confusion))
    if not errors.sum():
        return "No image is taken for another class"
    truth, predicted = np.unravel_index(errors.argmax(), errors.shape)
    count, total = int(errors[truth, predicted]), int(confusion[truth].sum())
    return f"Most often “{names[truth]}” is taken for “{names[predicted]}”: {count:,} of {total:,}"


def fill_cells(given: Classified, album: Album) -> dict[tuple[int, int], list[Shown]]:
    """Choose pictures for the cells in rounds until the album is full: the surest errors first, then close calls."""
    groups: dict[tuple[int, int], list[int]] = {}
    for i in np.argsort(-given.confidence, kind="stable"):
        groups.setdefault((int(given.labels[i]), int(given.predicted[i])), []).append(int(i))
    wrong = sorted((key for key in groups if key[0] != key[1]), key=lambda key: -len(groups[key]))
    right = sorted(key for key in groups if key[0] == key[1])
    cells: dict[tuple[int, int], list[Shown]] = {}
    rounds = [(wrong, r) for r in range(2)] + [(right, r) for r in range(MAX_OF_DIAGONAL)]
    rounds += [(wrong, r) for r in range(2, MAX_OF_CELL)]
    for keys, number in rounds:
        for key in keys:
            if number >= len(groups[key]) or album.is_full(given.answers.split):
                continue
            i = groups[key][number] if key[0] != key[1] else groups[key][-1 - number]
            cells.setdefault(key, []).append(Shown(given.place(i, album), given.said(i)))
    return cells
