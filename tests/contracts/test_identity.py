"""Rule 4, for data: images are known by their contents, never by their names or places."""

import os
import pickle
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import moganet
from moganet.data import ArraySplit, Dataset, FileSplit, open_data
from moganet.data.contents import UNREADABLE, EmbeddedImage, hash_files, known_again, num_copies, sketch, together
from moganet.data.leaks import describe_leaks, find_copies, find_torn_groups
from moganet.engine.evaluate import open_for
from moganet.errors import ConfigError, DataError
from moganet.models.formats.ours import load_model_file
from moganet.notices import listening

TINY = {
    "preprocessing": {"size": 16},
    "network.embed_dims": [8, 8, 16, 16],
    "network.depths": [1, 1, 1, 1],
    "trainer.max_epochs": 1,
    "data.validation": None,
    "data.batch_size": 8,
    "data.workers": 0,
}


def draw(root, names, seed=0, suffix="bmp"):
    """Draw random images of one size in bytes: {class: [name, ...]}."""
    noise = np.random.RandomState(seed)
    for label, files in names.items():
        (root / label).mkdir(parents=True, exist_ok=True)
        for name in files:
            Image.fromarray(noise.randint(0, 256, (12, 12, 3), np.uint8)).save(root / label / f"{name}.{suffix}")
    return root


def two_classes(root, number=10, seed=0):
    return draw(root, {"a": range(number), "b": range(number)}, seed)


def labelled_table(root):
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.rglob("*.bmp"))]
    (root / "t.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    return f"table:{root / 't.csv'}"


def embedded_table(root):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    files = sorted(root.rglob("*.bmp"))
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    parquet.write_table(pyarrow.table({"image": images, "label": [f.parent.name for f in files]}), root / "t.parquet")
    return f"table:{root / 't.parquet'}"


SOURCES_OF_FILES = {"folder": lambda root: f"folder:{root}", "table": labelled_table, "embedded": embedded_table}


@pytest.mark.parametrize("source", SOURCES_OF_FILES)
def test_a_replaced_image_is_another_and_a_moved_folder_the_same(source, tmp_path):
    spec_of, root = SOURCES_OF_FILES[source], two_classes(tmp_path / "x")
    before = open_data(spec_of(root)).fingerprint()
    moved = root.rename(tmp_path / "y")
    assert open_data(spec_of(moved)).fingerprint() == before
    image = moved / "a" / "3.bmp"
    content, times = bytearray(image.read_bytes()), image.stat()
    content[-1] ^= 1
    image.write_bytes(content)
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a copy that keeps the times
    assert open_data(spec_of(moved)).fingerprint() != before


def test_one_pixel_of_a_set_in_memory_makes_another(tmp_path):
    images = torch.randint(0, 256, (6, 1, 5, 5), dtype=torch.uint8)
    swapped = images.clone()
    swapped[0, 0, 0, :2] = images[0, 0, 0, :2].flip(0) + torch.tensor([1, 255], dtype=torch.uint8)  # the same sum
    labels = torch.tensor([0, 1] * 3)
    sets = [Dataset("x", ("a", "b"), {"train": ArraySplit(pixels, labels)}) for pixels in (images, swapped)]
    assert sets[0].fingerprint() != sets[1].fingerprint()


@pytest.mark.parametrize("change", ["order", "label", "split", "classes"])
def test_a_fingerprint_knows_the_division(change, tmp_path):
    root = two_classes(tmp_path / "x")
    files = sorted(root.rglob("*.bmp"))
    labels = torch.tensor([0] * 10 + [1] * 10)
    whole = FileSplit(files, labels)
    base = Dataset("x", ("a", "b"), {"train": whole.subset(range(5, 20)), "val": whole.subset(range(5))})
    other = {
        "order": Dataset("x", ("a", "b"), {**base.splits, "train": whole.subset([*range(6, 20), 5])}),
        "label": Dataset("x", ("a", "b"), {**base.splits, "val": FileSplit(files[:5], 1 - labels[:5])}),
        "split": Dataset("x", ("a", "b"), {"train": whole.subset(range(6, 20)), "val": whole.subset(range(6))}),
        "classes": Dataset("x", ("a", "c"), base.splits),
    }[change]
    assert other.fingerprint() != base.fingerprint()


def test_any_bytes_may_be_a_name(tmp_path):
    for number, name in enumerate((b"caf\xe9", b"new\nline", b"~nobody", b"[other]", "一".encode())):
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / os.fsdecode(b"\xff.png"))
    dataset = open_data(f"folder:{tmp_path}")
    assert len(dataset.class_names) == 5 and dataset.recognised(dataset.fingerprint()) == "contents"


def test_what_can_not_be_read_equals_nothing_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    found = hash_files([tmp_path / "pipe.png", tmp_path / "dangling.png", tmp_path, tmp_path / "a\0b"])
    assert found == [UNREADABLE] * 4 and num_copies(found) == 0
    assert together(found).tolist() == [0, 1, 2, 3]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_together_joins_what_is_linked_and_nothing_else(pairs):
    contents, groups = [b"%d" % content for content, _ in pairs], [str(group) for _, group in pairs]
    numbers = together(contents, groups).tolist()
    reached = np.array([[a[0] == b[0] or a[1] == b[1] for b in pairs] for a in pairs])
    for _ in pairs:
        reached = reached @ reached
    assert [[x == y for y in numbers] for x in numbers] == reached.tolist()
    assert together(contents).tolist() == [list(dict.fromkeys(contents)).index(one) for one in contents]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_copies_stay_on_one_side(seed, grouped, tmp_path):
    root = two_classes(tmp_path, 12)
    for file in sorted(root.rglob("*.bmp"))[::2]:
        shutil.copy(file, file.with_name(f"{file.stem} (1).bmp"))
    shutil.copy(root / "a" / "1.bmp", root / "b" / "also.bmp")  # under two labels
    dataset = open_data(f"folder:{root}")
    if grouped:
        train = dataset.split("train")
        groups = [str(i // 3) for i in range(len(train))]
        dataset = Dataset("x", dataset.class_names, {"train": FileSplit(train.files, train.labels, groups=groups)})
    held = dataset.with_validation(0.25, seed)
    kept, val = (set(held.split(name).contents()) for name in ("train", "val"))
    assert val and kept and not val & kept
    assert len(held.split("train")) + len(held.split("val")) == len(dataset.split("train")) == 37
    assert 5 <= len(held.split("val")) <= 14
    said = describe_leaks(held)
    assert len(said) == 2 and "1 images" in said[0] and "another label" in said[0] and said[1].startswith("13 images")


@pytest.mark.parametrize("name", ["moganet_nano.digits"])
def test_a_model_from_before_knows_its_home_where_that_is_in_memory(name):
    predictor = moganet.load(name)
    assert not predictor.config.provenance["fingerprint"].startswith("contents:")
    dataset, is_home = open_for(predictor, None)
    assert is_home and len(dataset.split("val")) == predictor.config.task.reject.num_images


def test_a_run_from_before_is_known_by_names_and_says_so(home, tmp_path):
    predictor = moganet.load(home / "run")
    _, is_home = open_for(predictor, None)
    assert is_home
    held = open_data(str(home / "day1")).with_validation(None, 0)
    predictor.config.provenance["fingerprint"] = held._fingerprint_before()
    with listening() as heard:
        dataset, is_home = open_for(predictor, None)
    assert not is_home and len(dataset.split("val")) == 4 and "before the contents" in heard[0]
    day2 = two_classes(tmp_path / "day2", seed=1)
    with listening() as heard:
        dataset, is_home = open_for(predictor, str(day2))
    assert not is_home and list(dataset.splits) == ["train"] and "they may be them" in heard[0]


def test_a_run_from_before_with_divisions_of_its_own_is_not_said_to_have_changed(home, tmp_path):
    predictor = moganet.load(home / "run")
    for split in ("train", "val"):
        two_classes(tmp_path / "d" / split)
    dataset = open_data(str(tmp_path / "d"))
    predictor.config.provenance["fingerprint"] = dataset._fingerprint_before()
    predictor.config.provenance["recipe"]["data"] |= {"source": dataset.spec, "validation": None}
    predictor.config.provenance["images"] = ""
    with listening() as heard:
        found, is_home = open_for(predictor, str(tmp_path / "d"))
    assert not is_home and list(found.splits) == ["train", "val"] and not heard


def test_copies_and_groups_across_given_splits_are_found(tmp_path):
    root = two_classes(tmp_path / "x", 6)
    for label in "ab":
        (tmp_path / "d" / "val" / label).mkdir(parents=True)
        shutil.copytree(root / label, tmp_path / "d" / "train" / label)
        shutil.copy(root / label / "0.bmp", tmp_path / "d" / "val" / label / "other name.bmp")
    dataset = open_data(str(tmp_path / "d"))
    assert [(copy.first[0], copy.second[0], copy.contradicts) for copy in find_copies(dataset)] == [
        ("train", "val", False)
    ] * 2
    assert any("2 of 2 images of val are copies of some in train" in line for line in describe_leaks(dataset))
    train, val = dataset.split("train"), dataset.split("val")
    grouped = {
        "train": FileSplit(train.files, train.labels, groups=["p1"] * 6 + ["p2"] * 6),
        "val": FileSplit(val.files, val.labels, groups=["p2", "p3"]),
    }
    assert find_torn_groups(Dataset("x", ("a", "b"), grouped)) == {"p2": ("train", "val")}


def test_an_embedded_image_survives_the_way_to_a_worker(tmp_path):
    image = EmbeddedImage(b"content", "t.parquet/3/x.jpg")
    again = pickle.loads(pickle.dumps(image))
    assert (
        again == image and (str(again), again.name) == ("t.parquet/3/x.jpg", "x.jpg") and "content" not in repr(again)
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Train on an undivided folder; give it and the run."""
    root = tmp_path_factory.mktemp("home")
    moganet.train("digits", data=str(two_classes(root / "day1")), overrides=TINY, out=root / "run")
    return root


def test_other_images_of_the_same_names_are_measured_whole(home, tmp_path):
    day2 = two_classes(tmp_path / "day2", seed=1)
    result = moganet.evaluate(home / "run", data=str(day2))
    assert (result["num_images"], result["split"]) == (20, "all")
    assert any("no test split: all is taken (20 images)" in note for note in result["notes"])
    with pytest.raises(DataError, match="no split 'val'"):
        moganet.evaluate(home / "run", data=str(day2), split="val")


def test_the_same_images_elsewhere_are_known_and_said(home, tmp_path):
    shutil.copytree(home / "day1", tmp_path / "moved")
    result = moganet.evaluate(home / "run", data=str(tmp_path / "moved"))
    assert (result["num_images"], result["split"]) == (4, "val")
    assert any("4 that were held back; --split all takes 20" in note for note in result["notes"])
    assert moganet.evaluate(home / "run", data=str(tmp_path / "moved"), split="all")["num_images"] == 20


def test_replaced_images_are_not_held_back_not_resumed_and_calibrate_nothing(home, tmp_path):
    shutil.copytree(home, tmp_path / "home")
    run, day1 = tmp_path / "home" / "run", home / "day1"
    kept = tmp_path / "kept"
    shutil.copytree(day1, kept)
    try:
        (day1 / "a").rename(day1 / "x")
        (day1 / "b").rename(day1 / "a")
        (day1 / "x").rename(day1 / "b")
        with pytest.raises(DataError, match="has changed since"):
            moganet.evaluate(run, split="val")
        (run / "result.json").unlink()
        with pytest.raises(ConfigError, match="by their contents"):
            moganet.train("digits", data=str(day1), overrides=TINY, out=run, resume=True)
        moganet.write_report(run, data=str(day1.rename(home / "day3")), out=tmp_path / "r.html", explain=None)
        assert load_model_file(run / "best.safetensors")[1].task.temperature is None
    finally:
        shutil.rmtree(home / "day3", ignore_errors=True)
        shutil.rmtree(day1, ignore_errors=True)
        shutil.copytree(kept, day1)


def trained_on(spec, sketched=True):
    """Give what `open_for` asks of a model that was trained on a set with its own division."""
    dataset = open_data(spec)
    recipe = {"data": {"source": dataset.spec, "validation": None, "fraction": 1.0}, "seed": 0}
    images = {"images": sketch(dataset.split("train").contents())} if sketched else {}
    config = SimpleNamespace(
        provenance={"recipe": recipe, "fingerprint": dataset.fingerprint(), **images},
        preprocessing=SimpleNamespace(white_level=None),
    )
    return SimpleNamespace(config=config, class_names=dataset.class_names, name_of_model="m")


@pytest.mark.parametrize("sketched", [True, False])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("kind", ["folder", "table"])
def test_a_set_divided_anew_since_training_is_measured_but_never_without_a_word(kind, named, sketched, tmp_path):
    root = two_classes(tmp_path / "train")
    spec = f"folder:{tmp_path}"
    if kind == "folder":
        two_classes(tmp_path / "val", 4, seed=1)
    else:
        spec = labelled_table(root)
        lines = (root / "t.csv").read_text().splitlines()
        divided = [f"{line},{'val' if i % 5 == 0 else 'train'}" for i, line in enumerate(lines[1:])]
        (root / "t.csv").write_text("\n".join([f"{lines[0]},split", *divided]) + "\n")
    model = trained_on(spec, sketched)
    with listening() as heard:
        assert open_for(model, spec if named else None)[1] is True
    assert not any("trained on" in line for line in heard)
    if kind == "folder":
        for label in ("a", "b"):
            (root / label / "0.bmp").rename(tmp_path / "val" / label / "0-from-train.bmp")
        said = r"trained on 2 of 10 images .*\(val\)"
    else:
        text = (root / "t.csv").read_text().splitlines()
        swap = [line.replace(",train", ",VAL").replace(",val", ",train").replace("VAL", "val") for line in text]
        (root / "t.csv").write_text("\n".join(swap) + "\n")
        said = r"trained on 16 of 16 images .*\(val\)"
    with listening() as heard:
        assert open_for(model, spec if named else None)[1] is False
    assert any(re.search(said if sketched else "has changed since .*trained on", line) for line in heard)


OTHERS = {  # what is made of the images that a model was trained on, and how many are known again
    "moved, one more": lambda day, to: two_classes(shutil.copytree(day, to) / "x", 1, seed=5).rename(to / "a" / "x"),
    "a part": lambda day, to: [shutil.copytree(day / c, to / c, ignore=lambda _, n: sorted(n)[3:]) for c in "ab"],
    "other names": lambda day, to: [
        (to / c).mkdir(parents=True, exist_ok=True) or shutil.copy(file, to / c / f"new {file.name}")
        for c in "ab"
        for file in (day / c).iterdir()
    ],
}


@pytest.mark.parametrize("how", OTHERS)
@pytest.mark.parametrize("as_table", [True, False])
def test_images_that_were_trained_on_are_known_wherever_they_come_from(how, as_table, home, tmp_path):
    OTHERS[how](home / "day1", tmp_path / "other")
    other = tmp_path / "other"
    with listening() as heard:
        open_for(moganet.load(home / "run"), labelled_table(other) if as_table else str(other))
    known = r"holds the images that this model was trained on|trained on \d+ of \d+ images .*figures of these flatter"
    assert any(re.search(known, line) for line in heard)


def test_a_set_that_grew_is_measured_as_a_whole_where_it_is_given(home):
    more = home / "day1" / "a" / "more.bmp"
    try:
        Image.new("RGB", (12, 12)).save(more)
        with pytest.raises(DataError, match="has changed since"):
            moganet.evaluate(home / "run")
        result = moganet.evaluate(home / "run", data=str(home / "day1"))
        assert result["num_images"] == 21 and any("trained on 16 of 21 images" in n for n in result["notes"])
    finally:
        more.unlink()


@given(st.lists(st.binary(min_size=16, max_size=16), unique=True, max_size=40), st.integers(0, 40))
def test_a_sketch_knows_its_images_and_no_others(contents, number):
    part, rest = contents[:number], contents[number:]
    assert known_again(sketch(part), contents) == (len(set(part) - {UNREADABLE}), len(set(contents) - {UNREADABLE}))
    assert known_again(sketch(part), rest)[0] == 0


def test_a_sketch_of_many_images_estimates_the_share_that_is_known():
    noise = np.random.RandomState(0)
    many = [noise.bytes(16) for _ in range(20_000)]
    kept = sketch(many)
    assert len(kept) < 5000
    known, told = known_again(kept, many[:5000] + [noise.bytes(16) for _ in range(5000)])
    assert 30 < known < 110 and 0.3 < known / told < 0.7
