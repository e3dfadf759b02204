"""What `predict` writes of its answers: rows, pictures, sorted images; and how many of them are right."""

import contextlib
import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from small_model import model, pictures
from test_archives import png

import moganet
import moganet_cli
from moganet.data.read import read
from moganet.errors import ConfigError, DataError, OutputError
from moganet.inference.answer_files import open_answers
from moganet.inference.coco_results import image_ids, open_results
from moganet.inference.sorted_images import SortedImages
from moganet.notices import listening
from moganet.report import Label, label_picture
from moganet.safe_names import FreeNames, safe_name
from moganet.tasks import TASKS
from moganet.tasks.multilabel.answers import Found

CLASSES = [f"class {i}" for i in range(6)]


@pytest.fixture(scope="module")
def predictor():
    return moganet.load(model(), runtime="eager")


@pytest.fixture
def photos(tmp_path):
    """Make two folders with an image of the same name each, a third image on its side, and what is no image."""
    for number, folder in enumerate(("class 0", "class 1", "other")):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        exif = Image.Exif()
        if folder == "other":
            exif[ExifTags.Base.Orientation] = 6
        picture = Image.fromarray(pictures()[number]).resize((320, 240))
        picture.save(tmp_path / "photos" / folder / "x.jpg", exif=exif)
    (tmp_path / "photos" / "other" / "broken.png").write_bytes(b"no image")
    return tmp_path / "photos"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rows_are_the_same_in_every_file(predictor, photos, tmp_path):
    pyarrow = pytest.importorskip("pyarrow.parquet")
    expected = moganet.predict(predictor, photos).plain()["predictions"]
    for ending in ("jsonl", "parquet", "csv"):
        result = moganet.predict(predictor, photos, out=tmp_path / f"a.{ending}")
        assert result.out == str(tmp_path / f"a.{ending}") and len(result.unreadable) == 1
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert rows == json.loads(json.dumps(expected))
    table = pyarrow.read_table(tmp_path / "a.parquet").to_pylist()
    assert [{key: value for key, value in row.items() if value is not None} for row in table] == rows
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "file,truth,rank,name,probability,rejected" and len(lines) == 1 + 3 * 5


def test_files_of_answers_hold_any_name_in_any_number_and_none(predictor, tmp_path):
    pyarrow = pytest.importorskip("pyarrow.parquet")
    odd = "two\nlines \udcff.png"
    task, found = TASKS["multilabel"], Found(("a", "b"), (0.9, 0.8), ("a", "b"))
    rows = [task.row(odd, found, ("a",), trained=True), *[task.row("x", found, None, trained=True)] * 5000]
    for ending in ("jsonl", "parquet", "csv"):
        with open_answers(tmp_path / f"a.{ending}", task.columns, ("time",)) as write:
            for row in rows:
                write(row)
        with open_answers(tmp_path / f"none.{ending}", task.columns, ()):
            pass
    table = pyarrow.read_table(tmp_path / "a.parquet")
    assert table.num_rows == 5001 and table["truth"][0].as_py() == ["a"] and table["truth"][1].as_py() is None
    assert table["file"][0].as_py() == "two\nlines \\udcff.png"
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 5001
    assert pyarrow.read_table(tmp_path / "none.parquet").num_rows == 0 and not (tmp_path / "none.jsonl").read_bytes()
    with pytest.raises(RuntimeError), open_answers(tmp_path / "b.parquet", task.columns, ()) as write:
        write(rows[0])
        raise RuntimeError
    assert not list(tmp_path.glob("*b.*"))


def test_pictures_have_their_own_size_and_no_one_overwrites_another(predictor, photos):
    before, saved = contents(photos), photos / "saved"
    result = moganet.predict(predictor, photos, save_images=saved)
    after = contents(photos)
    assert result.saved == 3 and before.items() <= after.items() and len(after) == len(before) + 4
    listed = [json.loads(line) for line in (saved / "predictions.jsonl").read_text().splitlines()]
    assert [one["picture"] for one in listed] == ["x.jpg", "x-2.jpg", "x-3.jpg"]
    assert [read(saved / one["picture"]).size for one in listed] == [(320, 240), (320, 240), (240, 320)]
    assert len({after[f"saved/{one['picture']}"] for one in listed}) == 3
    again = moganet.predict(predictor, photos).predictions  # such a folder holds pictures of images, and no images
    assert [row.file for row in again] == [one["file"] for one in listed]
    with pytest.raises(OutputError, match="not empty"):
        moganet.predict(predictor, photos, save_images=saved)


def test_no_empty_folder_is_left_where_nothing_could_be_read(predictor, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    to = {"save_images": tmp_path / "pictures", "sort_into": tmp_path / "sorted"}
    with contextlib.suppress(moganet.errors.MogaNetError):
        assert len(moganet.predict(predictor, tmp_path / "bad.png", **to).unreadable) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.png"]


@pytest.mark.parametrize("grey", [0, 128, 255])
@pytest.mark.parametrize(("width", "height"), [(640, 480), (150, 900), (900, 150), (32, 32), (1, 1), (2000, 20)])
def test_letters_are_legible_on_any_picture_of_any_size(grey, width, height):
    long = "Strigops habroptilus, " * 9 + "the end"
    for label in (Label("a"), Label(long, False, "b" * 300, True), Label("$x^2$ \x1b[2J {a} \n", True, "c")):
        pixels = np.full((1 if grey else 3, height, width), grey, np.uint8)
        drawn = np.asarray(label_picture(pixels, label)).astype(int)
        assert drawn.shape[0] >= height and drawn.shape[1] >= width and (pixels == grey).all()
        own = drawn[: max(1, height), : max(1, width)]
        if min(width, height) >= 128 and label.text == "a":
            assert own.shape == drawn.shape
        white = (drawn > 240).all(-1)
        assert white.any() and drawn[(drawn < 190).any(-1)].size  # letters, and a ground that they stand out from
    framed = np.asarray(label_picture(np.full((3, 200, 300), grey, np.uint8), Label("a", rejected=True)))
    assert (framed[-1, -1] == (0xE6, 0x9F, 0x00)).all()


@pytest.mark.parametrize("links", [False, True])
def test_images_are_sorted_into_folders_of_classes_and_stay_where_they_are(links, predictor, photos, tmp_path):
    before = contents(photos)
    rows = moganet.predict(predictor, photos, sort_into=tmp_path / "sorted", links=links).predictions
    made = sorted(path for path in (tmp_path / "sorted").rglob("*") if not path.is_dir())
    assert len(made) == 3 and contents(photos) == before
    expected = sorted(
        ("_rejected" if row.rejected else row.classes[0].name, Path(row.file).read_bytes()) for row in rows
    )
    assert sorted((path.parent.name, path.read_bytes()) for path in made) == expected
    assert all(path.is_symlink() == links for path in made)
    with pytest.raises(OutputError, match="not empty"):
        moganet.predict(predictor, photos, sort_into=tmp_path / "sorted")
    assert sorted(path for path in (tmp_path / "sorted").rglob("*") if not path.is_dir()) == made


def test_hostile_classes_and_names_stay_within_the_folder(tmp_path):
    names = [
        "../../up",
        "/abs",
        "a/b",
        "a_b",
        "A_B",
        "CON",
        "",
        ".",
        "..",
        "_rejected",
        "x" * 300,
        "tab\t\x1b[2J",
        "\udcff",
    ]
    folders = SortedImages(tmp_path / "s", names, links=False)
    for name in names:
        for file in ("x.png", "../../x.png", "a.zip//etc/passwd"):
            folders.add(file, [name], None, np.zeros((3, 2, 2), np.uint8))
    folders.add("x", [], None, np.zeros((1, 2, 2), np.uint8))
    folders.add("x", names[:2], True, np.zeros((1, 2, 2), np.uint8))
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(made) == folders.number == 3 * len(names) + 2 and [one.name for one in tmp_path.iterdir()] == ["s"]
    assert all(len(path.relative_to(tmp_path).parts) == 3 for path in made)
    assert len({path.parent for path in made}) == len(names) + 2
    assert len({str(path.parent.name).casefold() for path in made}) == len(names) + 2
    assert [path.name for path in (tmp_path / "s" / "_rejected").iterdir()] == ["x.png"]


def test_an_image_of_several_classes_is_in_each_of_their_folders(tmp_path):
    task, answer = TASKS["multilabel"], Found(("a", "b"), (0.9, 0.8), ("a", "b"))
    folders = SortedImages(tmp_path / "s", ["a", "b", "c"], links=False)
    folders.add("x.png", task.names_found(answer), None, np.zeros((3, 2, 2), np.uint8))
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")) == ["s/a/x.png", "s/b/x.png"]
    assert task.is_right(answer, ("b", "a")) and not task.is_right(answer, ("a",))
    assert task.row("x", answer, ("a",), trained=True).short() == "a 90.0 %, b 80.0 %"


def test_names_that_are_asked_for_twice_get_a_number():
    free = FreeNames(("taken",))
    assert [free.free(name) for name in ("a.png", "A.png", "a.png", "taken", "a-2.png")] == [
        *("a.png", "A-2.png", "a-3.png", "taken-2", "a-2-2.png")
    ]
    assert all(
        safe_name(name) not in ("", ".", "..") and "/" not in safe_name(name) for name in ("", ".", "/", "a/..", " ")
    )
    assert len(os.fsencode(safe_name("ü" * 400))) <= 121


def test_the_truth_of_folders_is_said_chosen_and_counted(predictor, photos, capsys):
    result = moganet.predict(predictor, photos)
    assert result.hits is not None and result.hits.known == 2 and result.hits.by == "folders"
    right = sum(row.truth == row.classes[0].name for row in result.predictions)
    assert result.hits.right == right and result.hits.interval[0] <= right / 2 <= result.hits.interval[1]
    assert any("2 of 4 images" in note and "--truth none" in note for note in result.notes)
    none = moganet.predict(predictor, photos, truth="none")
    assert "hits" not in none and all(row.truth is None for row in none.predictions)
    assert not any("truth" in note for note in none.notes)
    certain = moganet.predict(predictor, photos / "class 0", truth="folders")
    assert certain.hits.known == 1 and not any("truth" in note for note in certain.notes)
    with pytest.raises(DataError, match="no image lies in a folder"):
        moganet.predict(predictor, photos / "other", truth="folders")
    with pytest.raises(SystemExit):
        moganet_cli.main(["predict", str(model()), str(photos / "class 0")])
    assert f"right: {certain.hits.right:,} of 1" in capsys.readouterr().out


def test_the_labels_of_a_set_give_the_rate_that_its_evaluation_gives(trained_run):
    result = moganet.predict(trained_run, data="digits", top_k=1)
    assert result.hits.by == "data" and result.hits.rate == pytest.approx(moganet.evaluate(trained_run).top1)
    assert "hits" not in moganet.predict(trained_run, data="digits", limit=3, truth="none")


@pytest.mark.parametrize("ending", ["zip", "tgz"])
def test_images_of_archives_go_wherever_images_go(ending, predictor, tmp_path):
    for seed in range(18):
        (tmp_path / f"{seed}.png").write_bytes(png(seed))
    archive = tmp_path / f"a.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for seed in range(18):
                file.write(tmp_path / f"{seed}.png", f"class 0/{seed}.png")
    else:
        with tarfile.open(archive, "w:gz") as file:
            for seed in range(18):
                file.add(tmp_path / f"{seed}.png", f"class 0/{seed}.png")
    plain = moganet.predict(predictor, [tmp_path / f"{seed}.png" for seed in range(18)], batch_size=4)
    to = {"save_images": tmp_path / "p", "sort_into": tmp_path / "s", "links": True}
    result = moganet.predict(predictor, archive, batch_size=4, **to)
    assert [row.classes for row in result.predictions] == [row.classes for row in plain.predictions]
    assert result.predictions[3].file == f"{archive}/class 0/3.png" and result.hits.known == 18
    copies = {path.name: path.read_bytes() for path in (tmp_path / "s").rglob("*.png")}
    assert (
        copies == {f"{seed}.png": png(seed) for seed in range(18)} and len(list((tmp_path / "p").glob("*.png"))) == 18
    )
    assert any("are copied" in note for note in result.notes)


def test_frames_of_videos_have_their_time_wherever_they_go(predictor, tmp_path):
    from test_videos import write

    video = write(tmp_path / "a.mkv", range(0, 4000, 100))
    to = {"save_images": tmp_path / "p", "sort_into": tmp_path / "s", "out": tmp_path / "a.csv"}
    result = moganet.predict(predictor, video, every="500ms", batch_size=4, **to)
    assert [row.time for row in result.predictions] == pytest.approx([i / 2 for i in range(8)])
    assert sorted(path.name for path in (tmp_path / "p").glob("*.jpg"))[1] == "a-0.500s.jpg"
    assert len(list((tmp_path / "s").rglob("a-*s.png"))) == 8
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0].endswith(",time") and lines[-1].endswith(",3.500")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"out": "a.xlsx"}, OutputError, "jsonl"),
        ({"links": True}, ConfigError, "sort"),
        ({"save_images": "x", "sort_into": "x"}, ConfigError, "two folders"),
        ({"truth": "perhaps"}, ConfigError, "folders"),
        ({"every": "often"}, ConfigError, "10frames"),
    ],
)
def test_what_can_not_be_written_is_refused_before_the_work(options, error, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said):
        moganet.predict("no model", "x.png", **options)
    assert not list(tmp_path.iterdir())


# COCO's list of results


def test_ids_are_those_of_the_annotations_beside_of_the_names_or_counted(tmp_path):
    folder = tmp_path / "val2017"
    names = [str(folder / f"{stem}.jpg") for stem in ("000000000007", "12")]
    with listening() as heard:
        assert image_ids(names) == [7, 12] and not heard
        assert image_ids([*names, "a/7.png"]) == [1, 2, 3]
        assert "count from 1" in heard[0]
    assert image_ids(["²/²"]) == [1] and image_ids([]) == []  # a digit to Python, and no number
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "broken_val2017.json").write_text("{")
    assert image_ids(names) == [7, 12]
    entries = [{"id": 900 + i, "file_name": f"x/{Path(name).name}"} for i, name in enumerate(names)]
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps({"images": entries}))
    folder.mkdir()
    assert image_ids(names) == [900, 901] and image_ids(names[:1]) == [900]
    assert image_ids([*names, str(folder / "13.jpg")]) == [7, 12, 13]  # which it does not name


def test_results_appear_whole_and_only_of_tasks_that_have_them(predictor, photos, tmp_path):
    with open_results(tmp_path / "r.json") as write:
        write([{"image_id": 1, "category_id": 3, "score": 0.5}, {"image_id": 1, "category_id": 4, "score": 0.25}])
        write([])
        write([{"image_id": 2, "category_id": 3, "score": 1.0}])
        assert not (tmp_path / "r.json").exists()
    assert [one["image_id"] for one in json.loads((tmp_path / "r.json").read_text())] == [1, 1, 2]
    with open_results(tmp_path / "none.json"):
        pass
    assert json.loads((tmp_path / "none.json").read_text()) == []
    with pytest.raises(ConfigError, match="leave --coco away"):
        moganet.predict(predictor, photos, coco=tmp_path / "c.json")
    assert not (tmp_path / "c.json").exists()
