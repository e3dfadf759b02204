"""Verbs on what a caller has in Python: own data sets from training to report, own images, and no state that leaks."""

import asyncio
import io
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

import moganet
from moganet.data.digits import open_digits
from moganet.errors import ConfigError, DataError, WeightsError
from moganet.inference import load_model_file
from moganet.models.shipped import shipped_models

SMALL = {
    "network.embed_dims": [8, 8, 16, 16],
    "network.depths": [1, 1, 1, 1],
    "network.mlp_ratios": [2, 2, 2, 2],
    "trainer.max_epochs": 1,
    "trainer.max_steps": 3,
    "data.batch_size": 32,
}
DIGITS = {name: TensorDataset(split.images, split.labels) for name, split in open_digits(None).splits.items()}


LEFT = []


def state():
    seeds = {name: value for name, value in os.environ.items() if name.startswith("PL_")}
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate(), seeds


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Train, in a running loop as a notebook has it, on torch data sets what their source gives; give the folder."""
    out = tmp_path_factory.mktemp("own") / "run"

    async def cell():
        return moganet.train("digits", DIGITS, SMALL, out, class_names=range(10))

    torch.manual_seed(5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOGANET_REPORT", "on")
        LEFT.append(state())
        asyncio.run(cell())
        LEFT.append(state())
    return out


def test_own_data_sets_train_to_the_very_weights_that_their_source_gives(run, tmp_path):
    moganet.train("digits", overrides=SMALL, out=tmp_path / "same")
    (ours, described), (theirs, expected) = (
        load_model_file(one / "best.safetensors") for one in (run, tmp_path / "same")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert described.provenance["data"] == "python:TensorDataset"
    assert described.provenance["fingerprint"] == expected.provenance["fingerprint"]
    assert (run / "report.html").stat().st_size > 10_000


def test_a_run_knows_its_own_data_again_and_can_not_open_it_by_name(run):
    labelled = moganet.open_data(DIGITS, range(10))
    held = moganet.evaluate(run, labelled, "val")
    assert held.num_images == 144 and held.data == "python:TensorDataset"
    assert moganet.evaluate(run, "digits", "val").top1 == held.top1
    nameless = moganet.evaluate(run, DIGITS["test"])
    assert "its labels are taken for the model's, 0 for '0'" in nameless.notes[0] and nameless.split == "all"
    with pytest.raises(DataError, match="hand it over again as data="):
        moganet.evaluate(run)
    with pytest.raises(DataError, match="the model does not know: a"):
        moganet.evaluate(run, DIGITS["test"], class_names=["a", *map(str, range(1, 10))])
    [row] = moganet.predict(run, data=labelled, limit=1).predictions
    assert row.file == "test/0" and row.truth is not None


def test_a_run_on_own_data_goes_on_with_the_same_and_no_other(run):
    again = moganet.train("digits", DIGITS, SMALL, run, class_names=range(10), resume=True)
    assert again.steps == 3
    other = {**DIGITS, "train": TensorDataset(*(part.flip(0) for part in DIGITS["train"].tensors))}
    with pytest.raises(ConfigError, match="images or classes of python:TensorDataset"):
        moganet.train("digits", other, SMALL, run, class_names=range(10), resume=True)
    with pytest.raises(ConfigError, match="overwrite=True"):
        moganet.train("digits", DIGITS, SMALL, run, class_names=range(10))
    with pytest.raises(ConfigError, match="give it as data="):
        moganet.train("digits", class_names=["a"])


class Painted:
    """Dark and light squares of several sizes, flipped at random, with a row of 0 and 1 each where asked."""

    classes = ("dark", "light")

    def __init__(self, number=120, rows=False):
        self.number, self.rows = number, rows

    def __len__(self):
        return self.number

    def __getitem__(self, place):
        grey = np.random.RandomState(place).randint(0, 120, (9 + place % 3, 9), np.uint8) + 130 * (place % 2)
        flipped = grey[:, ::-1] if random.random() < 0.5 else grey
        return Image.fromarray(flipped), [1 - place % 2, place % 2] if self.rows else place % 2


@pytest.mark.parametrize("recipe", [pytest.param("digits", marks=pytest.mark.slow), "multilabel"])
def test_images_that_change_and_rows_train_and_are_reported_on(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("MOGANET_REPORT", "on")
    settings = {**SMALL, "preprocessing.size": 16, "data.workers": 0, "start.model": "none", "data.validation": 0.2}
    data = Painted(rows=recipe == "multilabel")
    result = moganet.train(recipe, data, settings, tmp_path / "run")
    assert result.report is not None and result.best is not None
    assert any("are taken for those that the model was trained on" in note for note in result.notes)
    held = moganet.evaluate(tmp_path / "run", data, "val")
    assert held.num_images == 24


def own_digits():
    digits = open_digits(None).split("train")
    return [(digits.images[place], int(digits.labels[place])) for place in range(120)]


def test_own_data_is_folded_and_compared(tmp_path):
    own, small = own_digits(), {**SMALL, "trainer.max_steps": 1, "logger": "csv"}
    folds = moganet.train_folds("digits", own, small, class_names=range(10), out=tmp_path / "f", folds=2, size=32)
    assert folds.out_of_fold.num_images == 120 and [run.error for run in folds.runs] == [None, None]
    both = [moganet.load(run.out) for run in folds.runs]
    found = moganet.compare(both, own, "all", class_names=range(10), out=tmp_path / "page.html")
    assert [one.figure for one in found.models] == pytest.approx(
        [moganet.evaluate(one, own, "all").top1 for one in both]
    )
    for run in folds.runs:  # with what its fold left, each is known to have been trained
        assert any(note.startswith(f"{run.name} was trained on 60 of the 120") for note in found.notes)


@pytest.mark.slow
def test_own_data_is_searched(tmp_path):
    pytest.importorskip("optuna")
    own, asked = own_digits(), {"class_names": range(10), "overrides": {**SMALL, "logger": "csv"}}
    searched = {"trials": 1, "ranges": ["optimizer.lr=1e-3,1e-2"], "out": tmp_path / "t", "threads": 1}
    tuned = moganet.tune("digits", own, **asked, **searched)
    assert eval(tuned.command, {"moganet": Calls, "data": own}) == (own, tuned.settings["optimizer.lr"])
    with pytest.raises(ConfigError, match="images a step are 32 there and 16 here"):
        moganet.tune("digits", own, **{**asked, "overrides": {**SMALL, "data.batch_size": 16}}, **searched)


class Calls:
    """Stands for the package in a call that was said, and gives what it was called with."""

    @staticmethod
    def train(recipe, data, overrides, class_names):
        assert recipe == "digits" and class_names == range(10)
        return data, overrides["optimizer.lr"]


def test_a_training_in_a_running_loop_leaves_no_state_behind(run):
    assert LEFT[0] == LEFT[1]


SHIPPED = "moganet_nano.digits"


@pytest.fixture(scope="module")
def predictor():
    return moganet.load(SHIPPED, "eager")


def test_a_model_file_loads_from_its_bytes_and_open(predictor, tmp_path):
    file = Path(shipped_models()[SHIPPED])
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    with open(file, "rb") as opened:
        forms = [file.read_bytes(), io.BytesIO(file.read_bytes()), opened]
        predictors = [moganet.load(given, "eager") for given in forms]
    assert [one.name_of_model for one in predictors] == ["bytes", "bytes", file.name]
    for one in predictors:
        assert one(image)[0].names == predictor(image)[0].names
    for given, match in (
        (b"nothing", "bytes is no"),
        (io.StringIO("x"), "opened as text"),
        (torch.nn.Linear(1, 1), "moganet.model makes"),
        (None, "NoneType is no model"),
    ):
        with pytest.raises(WeightsError, match=match):
            moganet.load(given)


def test_predict_takes_images_in_every_form_and_names_the_bad_ones(predictor, tmp_path):
    images = [np.random.RandomState(i).randint(0, 256, (8, 8), np.uint8) for i in range(4)]
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    files = sorted(tmp_path.glob("*.png"))
    opened = [Image.open(file) for file in files]
    stacked = torch.stack([torch.from_numpy(image)[None] for image in images])
    expected = [row.classes for row in moganet.predict(predictor, tmp_path).predictions]
    forms = [files, opened, images, stacked, (image for image in images), [file.read_bytes() for file in files]]
    for form in forms:
        found = moganet.predict(predictor, form)
        assert [row.classes for row in found.predictions] == expected and not found.unreadable
    assert [answer.names[0] for answer in predictor(tmp_path)] == [row[0].name for row in expected]
    assert moganet.predict(predictor, opened).predictions[1].file == str(files[1])
    found = moganet.predict(predictor, [images[0], None, b"x", images[1]], grid=tmp_path / "grid.png")
    assert [row.file for row in found.predictions] == ["image 1", "image 4"]
    assert [one.file for one in found.unreadable] == ["image 2", "image 3"]
    for given, match in (([], "nothing to predict"), (iter(()), None), ([(images[0], 1)], "goes to data=")):
        if match is None:
            assert not moganet.predict(predictor, given).predictions
            continue
        with pytest.raises(DataError, match=match):
            moganet.predict(predictor, given)


def test_images_without_an_end_are_predicted_as_they_come(predictor):
    class EnoughError(Exception):
        pass

    asked, answered = [], []

    def endless():
        while True:
            asked.append(np.zeros((8, 8), np.uint8))
            yield asked[-1]

    def each(row):
        answered.append(row.file)
        if len(answered) == 70:
            raise EnoughError

    with pytest.raises(EnoughError):
        moganet.predict(predictor, endless(), each=each, batch_size=8)
    assert answered[-1] == "image 70" and len(asked) < 120
    assert len(moganet.predict(predictor, endless(), limit=3).predictions) == 3


def test_results_say_what_a_person_asks_and_names_are_text_in_a_notebook(run, predictor):
    hostile = '<img src=x onerror="alert(1)">'
    measured = moganet.evaluate(run, DIGITS, class_names=range(10))
    assert repr(measured).splitlines()[1].strip().startswith("top-1 ") and "confusion" not in repr(measured)
    assert "<table>" in measured._repr_html_() and hostile not in measured.changed(model=hostile)._repr_html_()
    assert "&lt;img src=x" in measured.changed(model=hostile)._repr_html_()
    trained = moganet.train("digits", DIGITS, SMALL, run, class_names=range(10), resume=True)
    assert "trained 1 epoch (" in str(trained) and "data:image/png;base64," in trained._repr_html_()
    assert repr(predictor).startswith(
        f"Predictor({SHIPPED}: moganet_nano, classify, 10 classes, 32x32 pixels, eager f32"
    )
    assert "moganet_nano" in predictor._repr_html_()
    answer = predictor(np.zeros((8, 8), np.uint8))[0]
    assert f"{100 * answer.probabilities[0]:.1f} %" in answer._repr_html_()
    assert len(repr(moganet.predict(predictor, data="digits"))) < 3000
