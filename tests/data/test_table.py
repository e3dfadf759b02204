"""Tables as people have them: what is taken for what, what is refused, and in which line."""

import csv
import io
import os
import re
import unicodedata

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

import moganet
from moganet.data import open_data
from moganet.data.leaks import find_torn_groups
from moganet.data.table_cells import clean_labels
from moganet.data.table_read import read_table
from moganet.errors import DataError, MogaNetError

NAMES = [f"im/{label}{i}.png" for label in ("daisy", "roses") for i in range(3)]
ROWS = [(name, name[3:8]) for name in NAMES]


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "im").mkdir()
    for number, name in enumerate(NAMES):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / name)
    return tmp_path


def write(folder, rows, header="path,label", name="t.csv", delimiter=",", end="\n"):
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows([header.split(","), *rows])
    (folder / name).write_bytes(out.getvalue().encode())
    return folder / name


def labels_of(dataset, split="train"):
    return [dataset.class_names[i] for i in dataset.split(split).labels.tolist()]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_and_line_ends(delimiter, end, photos):
    dataset = open_data(str(write(photos, ROWS, delimiter=delimiter, end=end)))
    assert labels_of(dataset) == [label for _, label in ROWS]
    assert all(file.is_file() for file in dataset.split("train").files)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_how_to_read(encoding, photos):
    table = write(photos, [(NAMES[0], "gänseblümchen")])
    table.write_bytes(table.read_bytes().decode().encode(encoding))
    assert open_data(str(table)).class_names == ("gänseblümchen",)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le"])
def test_without_a_mark_it_is_utf_8_or_refused(encoding, photos):
    table = write(photos, [*ROWS, (NAMES[0], "gänseblümchen")])
    table.write_bytes(table.read_bytes().decode().encode(encoding))
    with pytest.raises(DataError, match="UTF-8") as caught:
        open_data(str(table))
    assert "utf-16" in encoding or "line 8" in str(caught.value)


SPELLINGS = {
    "space": lambda text: f"  {text}\u00a0",
    "invisible": lambda text: f"\u200b{text}\ufeff",
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
    "newline": lambda text: f"{text}\n",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_label_has_one_spelling_and_that_is_said(spelling, photos):
    rows = [(name, "pâquerette") for name in NAMES]
    rows[1] = (NAMES[1], SPELLINGS[spelling]("pâquerette"))
    dataset = open_data(str(write(photos, rows)))
    assert dataset.class_names == ("pâquerette",)
    assert any(note.startswith("1 labels") for note in dataset.notes)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1.0", "2", "1"], ["1", "2", "1"]),
        ([1.0, 2.0], ["1", "2"]),
        ([1, 2.0], ["1", "2"]),
        (["1.0", "1.5"], ["1.0", "1.5"]),
        (["v1.0", "1.0"], ["v1.0", "1.0"]),
        (["007", "7"], ["007", "7"]),
        (["TRUE", "false", "True"], ["True", "False", "True"]),
        ([True, False], ["True", "False"]),
        (["true", "cat"], ["true", "cat"]),
        ([b"cat", "cat "], ["cat", "cat"]),
        ([None, float("nan")], ["", ""]),
        ([1e300], [str(int(1e300))]),
    ],
)
def test_numbers_and_truths_have_one_spelling(cells, expected):
    assert clean_labels(cells).texts == expected


@pytest.mark.parametrize("word", ["", " ", "nan", "NaN", "None", "NULL", "n/a", "NA", "<NA>"])
def test_no_label_is_no_class(word, photos):
    table = write(photos, [*ROWS[:3], (NAMES[3], word), *ROWS[4:]])
    with pytest.raises(DataError, match="1 rows without a label, line 5"):
        open_data(str(table))
    skipped = open_data(f"table:{table}?missing=skip")
    assert len(skipped.split("train")) == 5 and any("1 rows" in note for note in skipped.notes)
    if word.strip():
        assert word in open_data(f"table:{table}?missing=class").class_names
    else:
        with pytest.raises(DataError, match="without a label"):
            open_data(f"table:{table}?missing=class")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["im/daisy,0.png,daisy"], "line 2 has 3 cells"),
        (["im/daisy0.png,daisy", "im/daisy1.png"], "line 3 has 1 cells"),
        (['"im/daisy0.png","two\nlines"', "im/roses0.png,a,b"], "line 4 has 3 cells"),
        (["", "", "im/daisy0.png,daisy,,x"], "line 4 has 4 cells"),
        (['"im/daisy0.png,daisy', "im/daisy1.png,daisy"], "is no CSV"),
        (['"im/daisy0.png"x,daisy'], "is no CSV"),
        (["im/a.png,a,b"] * 9, "and 6 more lines"),
    ],
)
def test_a_torn_row_is_refused_with_its_line(lines, said, photos):
    (photos / "t.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    with pytest.raises(DataError, match=said) as caught:
        open_data(str(photos / "t.csv"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "before", ["", "\n", "\n\n", " \n", ",,\n", "sep=;\n", "\nsep=;\r\n", "sep=,\n", "\ufeffsep=\t\r\n\n"]
)
def test_what_stands_before_the_header_is_no_header(before, photos):
    sign = before.strip("\ufeff\r\n")[4:5] if "sep=" in before else ","
    text = write(photos, ROWS).read_text().replace(",", sign)
    (photos / "t.csv").write_text(before + text.replace("daisy\n", "\n", 1))
    with pytest.raises(DataError) as caught:  # the line is the one that an editor shows
        open_data(str(photos / "t.csv"))
    assert f"without a label, line {2 + before.count(chr(10))};" in str(caught.value)
    (photos / "t.csv").write_text(before + text)
    assert open_data(str(photos / "t.csv")).class_names == ("daisy", "roses")


def test_a_title_above_the_header_and_too_few_cells_have_their_own_remedy(photos):
    text = write(photos, ROWS).read_text()
    (photos / "t.csv").write_text("My photographs\n" + text)
    with pytest.raises(DataError, match=r"its first line, 'My photographs', must be the header"):
        open_data(str(photos / "t.csv"))
    (photos / "t.csv").write_text(text + "im/daisy0.png\n")
    with pytest.raises(DataError, match=r"line 8 has 1 cells; give each line 2 cells"):
        open_data(str(photos / "t.csv"))


FAULTS = {  # a row, and what is said of it
    "im/daisy0.png,daisy,train,x": "line 8 has 4 cells",
    "im/daisy0.png": "line 8 has 1 cells",
    "im/daisy0.png,,train": "without a label",
    ",daisy,train": "without a path",
    "im/daisy1.png,daisy,later": "has the split 'later'",
    "im/roses0.png,tulips,val": "classes in val that train lacks: tulips",
    "im/daisy0.png,roses,train": "two labels",
}


@pytest.mark.parametrize("rows", [[one] for one in FAULTS] + [[*FAULTS], [*reversed(FAULTS)]])
def test_the_doctor_names_every_fault_of_a_table_and_looks_at_the_rest(rows, photos):
    table = write(photos, [(*row, "train") for row in ROWS], header="path,label,split")
    table.write_text(table.read_text() + "\n".join(rows) + "\n")
    with pytest.raises(DataError) as caught:
        open_data(str(table))
    found = moganet.doctor(str(table))
    said = [finding["detail"] for finding in found["findings"] if finding["kind"] == "structure"]
    assert (
        len(said) >= len(rows) - 1 and str(caught.value).startswith(said[0]) and not found["ok"]
    )  # torn lines are one
    assert (len(said) > 1) == ("faults; moganet doctor lists them" in str(caught.value))
    assert set(caught.value.dataset.notes) == set(found["notes"])
    for row in rows:
        assert any(FAULTS[row].partition("line 8")[2] in line for line in said), row
    assert found["data"]["read_whole"] >= 6


@pytest.mark.parametrize("cell", [["a"], {"x": 1}])
def test_a_column_of_no_single_values_is_named(cell, photos):
    for name in ("label", "path"):
        columns = {"path": [NAMES[0]], "label": ["a"], name: [cell]}
        with pytest.raises(DataError, match=rf"the column '{name}' of .*t.parquet"):
            open_data(str(parquet(photos, **columns)))


def test_one_class_is_found_by_the_doctor(photos):
    found = moganet.doctor(str(write(photos, [(name, "a") for name in NAMES])))
    assert found["counts"]["one-class"] == 1 and not found["ok"]


def test_what_holds_nothing_is_counted_and_costs_no_line(photos):
    text = write(photos, ROWS).read_text().replace("\n", ",,\n").replace("label,,", "label").replace("roses0", "roses0")
    (photos / "t.csv").write_text(text + "\n\n,\n, ,\n")
    dataset = open_data(str(photos / "t.csv"))
    assert len(dataset.split("train")) == 6 and any("2 rows" in note for note in dataset.notes)


@pytest.mark.parametrize("spelled", ["\\", "space", "NFD", "~"])
def test_paths_are_found_as_people_write_them(spelled, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "é").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "é" / "1.png")
    written = {
        "\\": "é\\1.png",
        "space": "  é/1.png ",
        "NFD": unicodedata.normalize("NFD", "é/1.png"),
        "~": "~/é/1.png",
    }[spelled]
    dataset = open_data(str(write(tmp_path, [(written, "a")])))
    assert dataset.split("train").files == [tmp_path / "é" / "1.png"]
    assert any("1 paths of t.csv have" in note for note in dataset.notes)


@pytest.mark.parametrize("name", ["a\\b.png", "~x.png", " x.png", "x.png ", "[b].png", "x?.png", "%41.png"])
def test_a_name_is_taken_as_it_is_where_it_exists(name, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / name, format="png")
    dataset = open_data(str(write(tmp_path, [(name, "a")])))
    assert dataset.split("train").files == [tmp_path / name] and not dataset.notes


def test_missing_files_are_counted_and_addresses_and_pipes_refused(photos):
    dataset = open_data(str(write(photos, [*ROWS, ("im/none.png", "daisy")])))
    assert any("1 of 7 images of t.csv do not exist, first 'im/none.png' (line 8)" in note for note in dataset.notes)
    with pytest.raises(DataError, match=r"line 2 .*address"):
        open_data(str(write(photos, [("https://127.0.0.1/a.png", "a")])))
    os.mkfifo(photos / "pipe.png")
    with pytest.raises(DataError, match="a pipe"):
        open_data(str(write(photos, [("pipe.png", "a")])))


def test_a_header_that_is_a_row_is_said(photos):
    with pytest.raises(DataError, match="has no header"):
        open_data(str(write(photos, ROWS[1:], header=",".join(ROWS[0]))))


@pytest.mark.parametrize(
    ("header", "query", "said"),
    [
        ("path,label,label", "", "2 columns"),
        ("path,label,Label", "", "2 columns"),
        ("path,label,label ", "?label=label", "2 columns"),
        ("path,kind,x", "", r"\?label=COLUMN"),
        ("path,label,x", "?label=label&label=x", "named twice"),
        ("path,label,x", "?missing=maybe", "unknown"),
        ("path,label,x", "?label=none", "no column"),
    ],
)
def test_columns_that_can_not_be_told(header, query, said, photos):
    table = write(photos, [(*row, "x") for row in ROWS], header=header)
    with pytest.raises(DataError, match=said):
        open_data(f"table:{table}{query}")


def test_the_columns_taken_and_left_are_said(photos):
    table = write(photos, [(i, *row, "x") for i, row in enumerate(ROWS)], header=",Image ,CLASS,remark")
    (note,) = open_data(str(table)).notes
    assert "path is 'Image', label is 'CLASS'; not used: (without a name), remark" in note and "train 6" in note


@pytest.mark.parametrize("column", ["a+b", "a b", "a&b"[:1], "100%", "größe"])
def test_a_column_of_any_name_can_be_named(column, photos):
    table = write(photos, ROWS, header=f"path,{column}")
    assert len(open_data(f"table:{table}?label={column}").class_names) == 2


def test_a_file_may_be_called_with_a_question_mark(photos):
    table = write(photos, ROWS, name="what?label=x.csv")
    assert len(open_data(f"table:{table}").class_names) == len(open_data(f"table:{table}?label=label").class_names) == 2


@pytest.mark.parametrize("values", ["01234", ["fold1", "fold2"], ["a", ""]])
@pytest.mark.parametrize("off", ["", "none"])
def test_a_column_that_divides_otherwise_can_be_left_out(values, off, photos):
    rows = [(*row, values[i % len(values)]) for i, row in enumerate(ROWS)]
    table = write(photos, rows, header="path,label,fold")
    with pytest.raises(DataError, match=r"'fold' out: table:.*\?split=none"):
        open_data(str(table))
    assert list(open_data(f"table:{table}?split={off}").splits) == ["train"]


def test_usual_names_of_splits_are_taken_and_said(photos):
    words = ["Training", "training", "PublicTest", "Training", "dev", "Training"]
    rows = [(name, "a", word) for name, word in zip(NAMES, words, strict=True)]
    dataset = open_data(str(write(photos, rows, header="path,label,subset")))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 4, "val": 1, "test": 1}
    assert any("PublicTest as test" in note and "dev as val" in note for note in dataset.notes)


@pytest.mark.parametrize("column", ["Usage", "phase", "partition", "Data Set", "dataset"])
@pytest.mark.parametrize("words", [["train", "test"], ["Training", "PublicTest"], ["TRAIN", "val ", "Test"]])
def test_a_column_of_splits_with_another_name_is_said(column, words, photos):
    rows = [(name, "a", words[i % len(words)]) for i, name in enumerate(NAMES)]
    table = write(photos, rows, header=f"path,label,{column}")
    (said,) = [note for note in open_data(str(table)).notes if "names of splits" in note]
    spec = re.search(r"table:.*\?split=.*$", said)[0]
    assert len(open_data(spec).splits) == len(words)
    assert not any("names of splits" in note for note in open_data(f"table:{table}?split=none").notes)


@pytest.mark.parametrize("values", [["x", "train"], ["train"], ["0", "1"], ["", "test"]])
def test_other_columns_are_no_splits(values, photos):
    rows = [(*row, values[i % len(values)]) for i, row in enumerate(ROWS)]
    notes = open_data(str(write(photos, rows, header="path,label,remark"))).notes
    assert not any("names of splits" in note for note in notes)


def test_a_repeated_row_is_counted_and_a_contradicting_one_refused(photos):
    twice = open_data(str(write(photos, [*ROWS, ROWS[0], ("im//daisy1.png", "daisy")])))
    assert len(twice.split("train")) == 6 and any("2 rows of t.csv that repeat" in note for note in twice.notes)
    with pytest.raises(DataError, match=r"1 images two labels: .*'daisy' in line 2 and 'roses' in line 8"):
        open_data(str(write(photos, [*ROWS, (NAMES[0], "roses")])))
    both = write(photos, [*((*row, "train") for row in ROWS), (*ROWS[0], "val")], header="path,label,split")
    assert any("1 images of t.csv stand in two splits" in note for note in open_data(str(both)).notes)


def test_a_group_in_two_splits_is_said_and_one_without_a_name_is_alone(photos):
    rows = [(*row, "val" if i % 3 == 0 else "train", "" if i == 5 else f"P{i // 2}") for i, row in enumerate(ROWS)]
    dataset = open_data(str(write(photos, rows, header="path,label,split,patient")))
    assert find_torn_groups(dataset) == {"P0": ("train", "val"), "P1": ("train", "val")}
    assert [finding.kind for finding in dataset.findings] == ["group-leak"] * 2
    assert any("2 groups (patient) stand in more than one split" in note for note in dataset.notes)
    assert any("1 images of t.csv have no 'patient'" in note for note in dataset.notes)


# Parquet -----------------------------------------------------------------------------------------------------------


def parquet(folder, name="t.parquet", metadata=None, **columns):
    pyarrow, files = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table(columns)
    files.write_table(table.replace_schema_metadata(metadata) if metadata else table, folder / name)
    return folder / name


def pictures(folder):
    return [(folder / name).read_bytes() for name in NAMES]


@pytest.mark.parametrize("form", ["record", "bytes", "large", "mixed", "no path"])
def test_parquet_may_hold_the_images(form, photos):
    pyarrow = pytest.importorskip("pyarrow")
    content = pictures(photos)
    image = {
        "record": [{"bytes": data, "path": name} for data, name in zip(content, NAMES, strict=True)],
        "bytes": content,
        "large": pyarrow.array(content, pyarrow.large_binary()),
        "mixed": [{"bytes": data if i else None, "path": NAMES[i]} for i, data in enumerate(content)],
        "no path": [{"bytes": data, "path": None} for data in content],
    }[form]
    dataset = open_data(str(parquet(photos, image=image, label=[i // 3 for i in range(6)])))
    assert dataset.class_names == ("0", "1") and dataset.split("train")[5].image[0, 0, 0] == 5
    names = {dataset.split("train")[i].name for i in range(6)}
    assert len(names) == 6 and all(len(name) < 200 for name in names)
    assert any("images lie in t.parquet itself" in note for note in dataset.notes)


def test_a_damaged_picture_within_is_named_and_never_shown(photos):
    content = [*pictures(photos)[:5], b"\xff\xd8 no picture" + bytes(5000)]
    dataset = open_data(str(parquet(photos, image=content, label=["a"] * 6)))
    with pytest.raises(DataError, match=r"t\.parquet/5") as caught:
        dataset.split("train")[5]
    assert len(str(caught.value)) < 300


def test_names_of_numbers_are_read_where_the_file_has_them(photos):
    features = '{"info": {"features": {"label": {"names": ["daisy", "roses"], "_type": "ClassLabel"}}}}'
    table = parquet(photos, metadata={"huggingface": features}, path=NAMES, label=[0, 0, 0, 1, 1, -1])
    with pytest.raises(DataError, match="1 rows without a label, row 5"):
        open_data(str(table))
    assert open_data(f"table:{table}?missing=skip").class_names == ("daisy", "roses")
    for odd in (b"\xff\xfe", b"[]", b"{}", b'{"info": null}'):
        assert open_data(
            str(parquet(photos, metadata={b"huggingface": odd}, path=NAMES, label=[0, 1] * 3))
        ).class_names == ("0", "1")


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ([1.0, 2.0] * 3, ("1", "2")),
        ([True, False] * 3, ("False", "True")),
        ([b"a", b"b"] * 3, ("a", "b")),
        ([[1], [2]] * 3, "holds lists"),
        ([{"x": 1}] * 6, "holds lists or records"),
        ([b"\xff\xfe"] * 6, "no text in UTF-8"),
        ([1.0, float("nan"), None] * 2, "4 rows without a label"),
    ],
)
def test_labels_of_every_type(label, expected, photos):
    table = parquet(photos, path=NAMES, label=label)
    if isinstance(expected, tuple):
        assert open_data(str(table)).class_names == expected
    else:
        with pytest.raises(DataError, match=expected):
            open_data(str(table))


def test_categories_and_paths_as_bytes_are_text(photos):
    pyarrow = pytest.importorskip("pyarrow")
    table = parquet(photos, path=[n.encode() for n in NAMES], label=pyarrow.array(list("ababab")).dictionary_encode())
    dataset = open_data(str(table))
    assert dataset.class_names == ("a", "b") and dataset.split("train").files[0] == photos / NAMES[0]


def test_a_damaged_parquet_file_is_one_line(photos):
    whole = parquet(photos, path=NAMES, label=list("ababab")).read_bytes()
    random = np.random.RandomState(0)
    for _ in range(150):
        content = bytearray(whole)
        for place in random.randint(4, len(whole), 3):
            content[place] = random.randint(256)
        (photos / "t.parquet").write_bytes(bytes(content[: random.randint(8, 2 * len(whole))]))
        try:
            dataset = open_data(str(photos / "t.parquet"))
            assert len(dataset.split("train")) <= 6
        except MogaNetError as error:
            assert len(str(error)) < 800 and "\n" not in str(error)


CELL = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r"), max_size=6
)  # Python writes a bare \r without quotes


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=5), delimiter=st.sampled_from(",;\t|"))
def test_what_a_writer_of_csv_wrote_is_read_with_its_lines(rows, delimiter, tmp_path):
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    table = write(tmp_path, rows, header="a,b,c", delimiter=delimiter)
    if not filled:
        with pytest.raises(DataError, match="no rows"):
            read_table(table)
        return
    read = read_table(table)
    assert list(zip(*(read.column(name) for name in "abc"), strict=True)) == filled
    with open(table, newline="", encoding="utf-8") as file:
        lines = file.read()
    for row, place in zip(filled, read.places, strict=True):
        assert place.startswith("line ") and 2 <= int(place[5:]) <= len(lines.splitlines(keepends=True)) + 1
        assert row


@given(content=st.binary(max_size=60))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_any_bytes_give_a_table_or_one_line(content, tmp_path):
    (tmp_path / "t.csv").write_bytes(b"path,label\n" + content)
    try:
        dataset = open_data(str(tmp_path / "t.csv"))
        assert torch.bincount(dataset.split("train").labels).min() > 0
    except DataError as error:
        assert "\n" not in str(error)
