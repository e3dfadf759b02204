"""Files of features: what is written comes back, in both formats; what was begun goes on; damage is no feature."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moganet.config import Architecture, Preprocessing
from moganet.embeddings.files import FORMATS, read_features, read_made, write_features
from moganet.embeddings.journal import PARTIAL, Journal, alone_with
from moganet.embeddings.rows import MadeWith, Rows, joined
from moganet.embeddings.search import Nearest, nearest_of
from moganet.errors import DataError, OutputError

MADE = MadeWith(
    model="m", sha256="a" * 64, architecture=Architecture(), preprocessing=Preprocessing(size=8), precision="f32"
)
NAMES = ("a.png", "b/ü 漢.png", "$x\n.png", "-", "caf\udce9.png")


def rows(names=NAMES, seed=0):
    features = np.random.RandomState(seed).randn(len(names), 7).astype(np.float32)
    labels = tuple(None if i % 2 else f"label {i}" for i in range(len(names)))
    return Rows(tuple(names), tuple(f"{i:032x}" for i in range(len(names))), labels, features)


def same(one, other):
    assert (one.files, one.contents, one.labels) == (other.files, other.contents, other.labels)
    assert np.array_equal(one.features, other.features)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("names", [NAMES, NAMES[:3]])
def test_a_file_gives_what_was_written(suffix, names, tmp_path):
    many = [rows(names), rows([f"{i}" for i in range(9000)], seed=1)]
    out = tmp_path / f"f{suffix}"
    write_features(out, MADE, lambda: many, [name for part in many for name in part.files])
    assert read_made(out) == MADE
    same(joined([*read_features(out)]), joined(many))


def test_other_programs_read_the_files(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    part = rows(NAMES[:3])
    for suffix in FORMATS:
        write_features(tmp_path / f"f{suffix}", MADE, lambda: [part], part.files)
    table = parquet.read_table(tmp_path / "f.parquet")
    assert table.column("file").to_pylist() == list(part.files) and table.column("label")[1].as_py() is None
    assert np.allclose(np.array(table.column("features").to_pylist()), part.features)
    assert json.loads(table.schema.metadata[b"moganet.embeddings"])["sha256"] == MADE.sha256
    with np.load(tmp_path / "f.npz", allow_pickle=False) as arrays:
        assert arrays["files"].tolist() == list(part.files) and np.array_equal(arrays["features"], part.features)
    parquet.write_table(table.slice(1), tmp_path / "less.parquet")  # rows may be taken out
    assert read_made(tmp_path / "less.parquet") == MADE
    same(joined([*read_features(tmp_path / "less.parquet")]), part.chosen([1, 2]))


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_damaged_file_is_refused(suffix, tmp_path):
    out, part = tmp_path / f"f{suffix}", rows([f"{i}" for i in range(300)])
    write_features(out, MADE, lambda: [part], part.files)
    whole = out.read_bytes()
    for place in (len(whole) // 10, len(whole) // 3, len(whole) // 2):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :]):
            out.write_bytes(damaged)
            with pytest.raises(DataError, match=r"damaged|can't be read"):
                assert read_made(out) is not None
                [*read_features(out)]


def test_a_pickled_array_is_never_loaded(tmp_path):
    np.savez(tmp_path / "f.npz", made_with=np.array([print], dtype=object))
    with pytest.raises(DataError, match="can't be read"):
        read_made(tmp_path / "f.npz")
    np.savez(tmp_path / "f.npz", x=np.zeros(3))
    assert read_made(tmp_path / "f.npz") is None


@settings(max_examples=40)
@given(st.integers(0, 5000), st.booleans(), st.integers(0, 7))
def test_of_a_journal_the_whole_records_count(tmp_path_factory, place, cut, bit):
    path = tmp_path_factory.mktemp("j") / "f.npz.partial"
    journal = Journal(path)
    journal.begin(MADE, [rows(NAMES[:2])])
    ends = [path.stat().st_size]
    for number in range(5):
        journal.append(rows([f"{number}-{i}" for i in range(3)], number))
        ends.append(path.stat().st_size)
    whole, place = path.read_bytes(), ends[0] + place % (ends[-1] - ends[0])
    flipped = whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]
    path.write_bytes(whole[:place] if cut else flipped)
    again = Journal(path)
    again.load()
    left = sum(end <= place for end in ends) - 1  # records before the damage
    assert again.made == MADE and len(again.known) == 2 + 3 * left
    again.append(rows(["new"], 9))
    last = Journal(path)
    last.load()
    assert list(last.known)[-1] == "new" and len([name for part in last.rows() for name in part.files]) == 3 + 3 * left


def test_a_row_that_came_again_counts_once(tmp_path):
    journal = Journal(tmp_path / "f")
    journal.begin(MADE)
    for seed in (1, 2):
        journal.append(rows(["x", "y"], seed))
    journal.append(rows(["x"], 3))
    found = joined([*journal.rows()])
    assert found.files == ("y", "x")
    assert np.array_equal(found.features[0], rows(["x", "y"], 2).features[1])


def test_two_processes_do_not_write_one_file(tmp_path):
    with alone_with(tmp_path / "f.npz") as journal:
        assert journal.path.name == f"f.npz{PARTIAL}"
        with pytest.raises(OutputError, match="another process"), alone_with(tmp_path / "f.npz"):
            pass
    assert not list(tmp_path.iterdir())
    (tmp_path / "f.npz.partial").write_bytes(b"mine")
    with alone_with(tmp_path / "f.npz") as journal, pytest.raises(OutputError, match="no file that moganet began"):
        journal.load()
    assert (tmp_path / "f.npz.partial").read_bytes() == b"mine"


def test_the_search_is_exact_over_parts():
    random = np.random.RandomState(0)
    features, queries = random.randn(1000, 5).astype(np.float32), random.randn(7, 5).astype(np.float32)
    features[10] = features[500]  # equal ones come in their order
    queries[0] = 3 * features[10]
    features[20] = 0
    unit = [one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-9) for one in (queries, features)]
    cosines = unit[0] @ unit[1].T
    nearest = Nearest(queries, 6)
    for start in range(0, 1000, 130):
        part = features[start : start + 130]
        nearest.add(Rows(("x",) * len(part), ("",) * len(part), (None,) * len(part), part))
    for found, expected in zip(nearest.found, cosines, strict=True):
        assert [near.similarity for near in found] == pytest.approx(np.sort(expected)[::-1][:6], abs=1e-6)
    assert [near.place for near in nearest.found[0][:2]] == [10, 500] and nearest.found[0][0].similarity <= 1
    places, near = nearest_of(features, None, 4)
    assert all(i not in row for i, row in enumerate(places)) and near[10, 0] == pytest.approx(1)
