"""Tables with any number of labels an image: what is taken for what, what is refused, and how they are divided."""

import numpy as np
import pytest
from PIL import Image
from test_table import write

from moganet.data import open_data
from moganet.data.divide import choose_held_out
from moganet.data.table import open_table
from moganet.engine.doctor import doctor
from moganet.errors import DataError, MissingExtraError

NAMES = [f"{i}.png" for i in range(5)]
CELLS = ["cat|dog", "", "dog", "bird|cat|dog", "cat"]


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate(NAMES):
        Image.new("RGB", (8, 8), (50 * number, 0, 0)).save(tmp_path / name)
    return tmp_path


def labels_of(dataset, split="train"):
    targets = dataset.split(split).targets
    return [targets.text(i, dataset.class_names) for i in range(len(targets))]


def opened(folder, cells, query="labels=tags", header="path,tags", **options):
    rows = [(name, cell) if isinstance(cell, str) else (name, *cell) for name, cell in zip(NAMES, cells, strict=False)]
    return open_table(f"{write(folder, rows, header, **options)}?{query}")


def test_names_in_a_cell_are_a_set_and_an_empty_cell_is_an_image_without_any(photos):
    dataset = opened(photos, CELLS)
    assert dataset.class_names == ("bird", "cat", "dog") and labels_of(dataset) == CELLS
    assert dataset.split("train").targets.counts(3).tolist() == [1, 3, 3]
    assert any("1 of 5 rows of t.csv have no label" in note for note in dataset.notes)
    assert not dataset.findings


@pytest.mark.parametrize("sign", [";", ",", "|"])
def test_what_divides_a_cell_is_said_where_it_is_a_guess(sign, photos):
    dataset = opened(photos, [cell.replace("|", sign) for cell in CELLS])
    assert labels_of(dataset) == CELLS
    assert any("divided by" in note for note in dataset.notes) == (sign != "|")


def test_where_one_sign_divides_the_others_are_letters(photos):
    assert opened(photos, ["a, b|c;d", "c;d"]).class_names == ("a, b", "c;d")


@pytest.mark.parametrize("cell", ["dog|cat|dog", " cat | dog ", "cat||dog|", "\u200bcat|dog\u00a0"])
def test_a_name_has_one_spelling_and_counts_once(cell, photos):
    dataset = opened(photos, ["cat|dog", cell])
    assert labels_of(dataset) == ["cat|dog"] * 2
    assert any("another spelling" in note for note in dataset.notes) == ("\u200b" in cell)


def test_names_that_look_alike_are_said(photos, recwarn, caplog):
    write(photos, [(NAMES[0], "Cat|dog"), (NAMES[1], "cat")], "path,tags")
    open_data(f"{photos / 't.csv'}?labels=tags")
    assert "look alike" in caplog.text
    found = doctor(f"table:{photos / 't.csv'}?labels=tags")
    assert found.ok and found.counts["classes"] == 1


@pytest.mark.parametrize("word", ["none", "NaN", "n/a", "cat|none"])
def test_a_word_for_nothing_is_refused_with_its_line_unless_one_says_what_it_is(word, photos):
    with pytest.raises(DataError, match=r"line 3.*says that there is none.*empty cell is an image without any"):
        opened(photos, ["cat", word])
    assert len(opened(photos, ["cat", word], "labels=tags&missing=skip").split("train")) == 1
    assert word.rpartition("|")[2] in opened(photos, ["cat", word], "labels=tags&missing=class").class_names


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("yes", "No"), ("True", "false"), ("1.0", "0.0")])
def test_a_column_a_class(yes, no, photos):
    cells = [(yes, no, no), (no, no, no), (yes, yes, no)]
    dataset = opened(photos, cells, "labels=cat,dog,ant", "path,cat,dog,ant")
    assert dataset.class_names == ("ant", "cat", "dog") and labels_of(dataset) == ["cat", "", "cat|dog"]


def test_one_column_is_a_class_where_a_comma_says_so(photos):
    dataset = opened(photos, ["1", "0"], "labels=sick,", "path,sick")
    assert dataset.class_names == ("sick",) and labels_of(dataset) == ["sick", ""]
    taken = opened(photos, ["1", "0"], "labels=sick", "path,sick")
    assert taken.class_names == ("0", "1") and any("?labels=sick, with the comma" in note for note in taken.notes)


@pytest.mark.parametrize("word", ["2", "-1", "maybe", "cat"])
def test_a_class_that_is_neither_there_nor_not_is_refused_with_its_row(word, photos):
    with pytest.raises(DataError, match=r"line 3 .*in 'dog'.*0 or 1, yes or no") as caught:
        opened(photos, [("1", "0"), ("1", word)], "labels=cat,dog", "path,cat,dog")
    assert word in str(caught.value)


def test_nothing_in_the_column_of_a_class_is_not_known(photos):
    cells = [("1", "0"), ("1", ""), ("0", "NA")]
    with pytest.raises(DataError, match=r"2 rows without"):
        opened(photos, cells, "labels=cat,dog", "path,cat,dog")
    dataset = opened(photos, cells, "labels=cat,dog&missing=skip", "path,cat,dog")
    assert labels_of(dataset) == ["cat"] and any("passed over: 2 rows" in note for note in dataset.notes)


def test_a_row_a_label_is_joined_and_said(photos):
    rows = [(NAMES[0], "cat"), (NAMES[0], "dog"), (NAMES[1], "dog"), (NAMES[0], "cat")]
    dataset = open_table(f"{write(photos, rows, 'path,tags')}?labels=tags")
    assert labels_of(dataset) == ["cat|dog", "dog"]
    assert any("1 images of t.csv stand in several rows" in note for note in dataset.notes)


def test_columns_that_contradict_one_another_are_a_fault(photos):
    rows = [(NAMES[0], "1", "0"), (NAMES[0], "0", "0")]
    with pytest.raises(DataError, match=r"two labels: .*'cat' in line 2 and '' in line 3"):
        open_table(f"{write(photos, rows, 'path,cat,dog')}?labels=cat,dog")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("label=tags&labels=tags", "name one of the two"),
        ("labels=tag", "has no column 'tag'"),
        ("labels=tags,tags", "twice"),
        ("labels=,", "names no column"),
        ("labels=tags&labels=tags", "named twice"),
    ],
)
def test_what_is_asked_for_wrongly_is_said(query, said, photos):
    with pytest.raises(DataError, match=said):
        opened(photos, CELLS, query)


def test_no_label_at_all_is_refused(photos):
    with pytest.raises(DataError, match=r"no row of .* has a label"):
        opened(photos, ["", ""])


def test_splits_groups_and_paths_go_on_working(photos):
    rows = [(n, c, s, g) for n, c, s, g in zip(NAMES, CELLS, ["train"] * 3 + ["val"] * 2, "aabcc", strict=True)]
    dataset = open_table(f"{write(photos, rows, 'img,tags,split,group')}?labels=tags")
    assert labels_of(dataset) == CELLS[:3] and labels_of(dataset, "val") == CELLS[3:]
    assert dataset.split("train").groups == ["a", "a", "b"]
    assert any("classes in val that train lacks: bird; they can't be learned" in note for note in dataset.notes)


def test_a_column_called_labels_is_one_label_where_nothing_is_asked(photos):
    dataset = open_table(str(write(photos, list(zip(NAMES, ["a", "b", "a", "b", "a"], strict=True)), "path,labels")))
    assert dataset.split("train").targets.strata().ndim == 1


def test_lists_of_parquet_are_labels(photos):
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        pytest.skip(str(MissingExtraError("pyarrow is not installed")))
    cells = [cell.split("|") if cell else [] for cell in CELLS]
    pq.write_table(pa.table({"path": NAMES, "tags": cells}), photos / "t.parquet")
    assert labels_of(open_table(f"{photos / 't.parquet'}?labels=tags")) == CELLS


# How rows of several classes are divided


def draw(number, shares, seed=0):
    return (np.random.RandomState(seed).rand(number, len(shares)) < shares).astype(np.int64)


def divide(rows, amount=0.2, seed=0, groups=None, contents=None):
    contents = [b"%d" % i for i in range(len(rows))] if contents is None else contents
    return choose_held_out(rows, amount, seed, groups, contents)


@pytest.mark.parametrize("seed", range(5))
def test_rare_labels_stand_on_both_sides_in_proportion(seed):
    rows = draw(500, [0.5, 0.2, 0.05, 0.01, 0.3, 0.004], seed)
    held = divide(rows, seed=seed)
    assert len(held) == 100 and len(set(held.tolist())) == len(held)
    for column in rows.T:
        inside = column[held].sum()
        assert abs(inside - 0.2 * column.sum()) <= max(2, 0.05 * column.sum())
        assert column.sum() < 2 or 0 < inside < column.sum()
    empty = rows.sum(1) == 0
    assert abs(empty[held].mean() - empty.mean()) < 0.05


@pytest.mark.parametrize(("amount", "number"), [(30, 30), (0.1, 40), (0.5, 200)])
def test_as_many_are_held_as_are_asked_for(amount, number):
    assert len(divide(draw(400, np.linspace(0.01, 0.3, 20)), amount)) == number


def test_of_fewer_than_each_class_needs_all_that_are_needed_are_held():
    rows = draw(400, np.linspace(0.01, 0.3, 20))
    held = divide(rows, 1)
    assert 1 < len(held) <= 20 and (rows[held].sum(0) > 0).sum() == (rows.sum(0) > 1).sum()


def test_a_division_is_the_seeds():
    rows = draw(200, [0.4, 0.1])
    assert (divide(rows) == divide(rows)).all() and not np.array_equal(divide(rows), divide(rows, seed=1))


def test_a_class_with_one_image_stays_in_training():
    rows = draw(50, [0.5, 0.0])
    rows[17, 1] = 1
    assert all(17 not in divide(rows, seed=seed) for seed in range(10))


def test_groups_and_copies_stay_together():
    rows = draw(120, [0.4, 0.2])
    groups = [f"g{i // 3}" for i in range(120)]
    held = set(divide(rows, groups=groups).tolist())
    assert all((3 * i in held) == (3 * i + 1 in held) == (3 * i + 2 in held) for i in range(40))
    assert 15 <= len(held) <= 33
    contents = [b"%d" % (i // 2) for i in range(120)]
    held = set(divide(rows, contents=contents).tolist())
    assert all((2 * i in held) == (2 * i + 1 in held) for i in range(60)) and 18 <= len(held) <= 30


def test_images_without_labels_are_divided_too():
    held = divide(np.zeros((40, 3), np.int64), 10)
    assert len(held) == 10
