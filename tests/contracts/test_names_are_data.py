"""Names are data: what files and classes are called is neither markup nor steers a terminal, and any name works."""

import ast
import csv
import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_exporters import make_model

import moganet_cli
from moganet.embeddings.files import FORMATS, read_features
from moganet.embeddings.rows import joined
from moganet.files import to_json
from moganet.models.formats.ours import load_model_file, save_model_file
from moganet.notices import printable
from moganet.report.confusion import draw_confusion
from moganet_cli.output import print_table, shown

ROOT = Path(__file__).parents[2]
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30)
NAMES = [
    "[other]",
    "defect [/]",
    ":100: :sparkles:",
    "two\nlines",
    "\x1b[2J\x1b]0;title\x07",
    "c1 \x9b31m",
    "abc\u202etxt.exe",
    "caf\udce9",
    "$x_1^{",
    "{0} %s %(a)d",
    "~nobody here",
    "-x --json",
    "<img src=q onerror=alert(1)>",
    "\u200b",
    "x" * 80,
    "Müller 漢 ن 😀 \u2764\ufe0f",
]


@given(ANY_TEXT)
def test_a_text_for_the_terminal_is_one_line_that_steers_nothing(text):
    shown = printable(text)
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1
    bidi = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    assert not any(unicodedata.bidirectional(c) in bidi for c in shown)
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize("text", ["Pâquerette", "漢字 かな 한글", "שלום", "नमस्ते", "👩\u200d🌾 🇩🇪 ❤️", "a [b] :c: $d"])
def test_ordinary_names_are_shown_as_they_are(text):
    assert printable(text) == text and shown(text) == text


@given(st.dictionaries(ANY_TEXT, st.lists(ANY_TEXT, max_size=3), max_size=3), st.booleans())
def test_json_holds_any_text_in_any_encoding(value, ascii_only):
    text = to_json(value, ascii_only=ascii_only)
    text.encode("ascii" if ascii_only else "utf-8")
    assert json.loads(text) == value and printable(text) == text


def test_all_that_is_printed_goes_through_one_door():
    """Only `output.py` prints; only it and `progress.py` make a console; only `drawing.py` writes a figure."""
    for file in sorted((ROOT / "moganet_cli").glob("*.py")):
        calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)}
        if file.name != "output.py":
            makes_text = {"Console"} if file.name == "help.py" else set()  # of help, for the door
            assert not calls & {"print", "Console", "Table", "escape", "typer.echo", "sys.stdout.write"} - makes_text, (
                file
            )
    for file in sorted((ROOT / "moganet").rglob("*.py")):
        assert file.name == "progress.py" or "Console(" not in file.read_text(), f"{file}: bars are progress.py's"
        if file.name != "drawing.py":
            assert ".savefig(" not in file.read_text(), f"{file}: write figures by report.drawing.save_figure"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Make a model whose classes, and a folder whose files, have all these names."""
    folder = tmp_path_factory.mktemp("names")
    made = make_model(folder / "m.safetensors", classes=len(NAMES))
    state, description = load_model_file(made)
    save_model_file(made, state, description.changed(class_names=tuple(NAMES)))
    photos = folder / "photos"
    pixels = np.random.RandomState(0).randint(0, 256, (20, 20, 3), dtype=np.uint8)
    for name in NAMES:
        place = photos / name.replace("/", "_") / (name.replace("/", "_") + ".png")
        place.parent.mkdir(parents=True)
        with open(place, "wb") as file:
            Image.fromarray(pixels).save(file, "png")
    return made, photos


def run(capfdbinary, *arguments):
    with pytest.raises(SystemExit) as end:
        moganet_cli.main([str(argument) for argument in arguments])
    captured = capfdbinary.readouterr()
    return end.value.code, captured.out.decode(), captured.err.decode()


def test_predictions_of_any_name_are_printed_written_and_drawn(hostile, tmp_path, capfdbinary):
    model, photos = hostile
    table = tmp_path / "p.csv"
    code, out, _ = run(
        capfdbinary, "predict", model, photos, "--csv", table, "--grid", tmp_path / "g.png", "--top-k", len(NAMES)
    )
    assert code == 0 and len(out.splitlines()) == 3 + len(NAMES) and (tmp_path / "g.png").stat().st_size
    assert all(printable(name) in out for name in NAMES) and printable(out.replace("\n", "")) == out.replace("\n", "")
    code, out, _ = run(capfdbinary, "predict", model, photos, "--json")
    found = json.loads(out)["predictions"]
    assert code == 0 and {p["file"] for p in found} == {str(p) for p in photos.rglob("*.png")}
    assert all(Path(item["file"]).exists() for item in found)
    with open(table, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert {row["file"] for row in rows} == {item["file"] for item in found}
    assert {row["name"] for row in rows} == set(NAMES)


@pytest.mark.parametrize("suffix", FORMATS)
def test_features_of_any_name_are_kept_found_and_drawn(hostile, suffix, tmp_path, capfdbinary):
    model, photos = hostile
    out, files = tmp_path / f"f{suffix}", sorted(photos.rglob("*.png"))
    code, _, _ = run(capfdbinary, "embed", model, photos, "--out", out)
    found = joined([*read_features(out)])
    assert (
        code == 0
        and set(found.files) == {str(path) for path in files}
        and set(found.labels) <= {*NAMES, "caf\\udce9", None}
    )
    asked = "similar", model, files[0], "--among", out, "--top-k", len(NAMES)
    code, printed, _ = run(capfdbinary, *asked, "--out", tmp_path / "s.png")
    assert code == 0 and len(printed.splitlines()) == 1 + len(NAMES) and (tmp_path / "s.png").stat().st_size
    code, printed, _ = run(capfdbinary, *asked, "--json")
    assert {one["file"] for one in json.loads(printed)["queries"][0]["found"]} == {str(path) for path in files[1:]}


def test_a_name_is_no_option_pattern_or_home(hostile, monkeypatch, capfdbinary):
    """What the shell hands over exists, so that it is what it says."""
    model, photos = hostile
    for place in sorted(photos.glob("*/*.png")):
        monkeypatch.chdir(place.parent)
        code, out, error = run(capfdbinary, "predict", model, "--json", "--", place.name)
        assert code == 0, error
        assert [item["file"] for item in json.loads(out)["predictions"]] == [place.name]
    monkeypatch.chdir(photos)
    code, _, error = run(capfdbinary, "predict", model, "~no such user/x.png")
    assert code == 2 and "~no such user/x.png" in error and len(error.splitlines()) == 1


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\0"])
def test_a_list_on_stdin_holds_any_name(hostile, ending, monkeypatch, capfdbinary, tmp_path):
    model, photos = hostile
    files = [os.fsencode(p) for p in sorted(photos.rglob("*.png")) if ending == "\0" or b"\n" not in os.fsencode(p)]
    (tmp_path / "list").write_bytes(b"".join(name + ending.encode() for name in files))
    with open(tmp_path / "list", encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stdin", stream)
        code, out, _ = run(capfdbinary, "predict", model, "-", "--json")
    assert code == 0 and [os.fsencode(p["file"]) for p in json.loads(out)["predictions"]] == files


def test_tables_of_classes_show_any_name(capfdbinary):
    print_table(("class", "images"), [(name, "1") for name in NAMES], ("images",))
    out = capfdbinary.readouterr().out.decode()
    assert [line.split("  ")[0].strip() for line in out.splitlines()[1:]] == [printable(name).strip() for name in NAMES]


@pytest.mark.filterwarnings("error")
def test_pictures_draw_any_name(tmp_path):
    draw_confusion(np.eye(len(NAMES)), NAMES, tmp_path / "c.png", "$t_{ \x1b")
    assert (tmp_path / "c.png").stat().st_size


def test_a_run_may_lie_and_learn_in_folders_whose_names_are_not_utf8(tmp_path, capfdbinary):
    """The data's folder, a class, the run and what is made of it: other packages want paths in UTF-8."""
    name = "caf\udce9"
    photos, out = tmp_path / name, tmp_path / f"run {name}"
    pixels = np.random.RandomState(0).randint(0, 256, (4, 20, 20, 3), dtype=np.uint8)
    for label in ("b", name):
        for split in ("train", "val"):
            (photos / split / label).mkdir(parents=True)
            for number, picture in enumerate(pixels):
                with open(photos / split / label / f"{number}.png", "wb") as file:
                    Image.fromarray(picture + len(label) + (split == "val")).save(file, "png")
    settings = {"trainer.max_steps": 1, "data.batch_size": 4, "data.workers": 0, "preprocessing.size": 32}
    settings |= {"network.depths": [1, 1, 1, 1], "network.embed_dims": [8, 8, 16, 16], "report": False, "logger": "csv"}
    given = [text for key, value in settings.items() for text in ("--set", f"{key}={json.dumps(value)}")]
    train = ["train", "finetune", "--from", "none", "--data", photos, "--out", out, *given]
    for arguments in (
        train,
        [*train, "--resume"],
        ["evaluate", out],
        ["predict", out / "last.ckpt", photos],
        ["convert", out, tmp_path / f"hub {name}"],
        ["predict", tmp_path / f"hub {name}", photos, "--runtime", "openvino"],
        ["interactions", out, "--out", tmp_path / f"i {name}", "--filter", "all", "--grid", "2", "--images", "1"],
    ):
        code, _, error = run(capfdbinary, *arguments)
        assert code == 0, error
