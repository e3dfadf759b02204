"""A guess is said: what was taken for what stands in the verb's `notes` with the way to choose otherwise."""

import numpy as np
import pytest
import torch
from conftest import GOLDEN
from PIL import Image

import moganet
from moganet.engine.preview import preview
from moganet.models.formats import read_checkpoint

SMALL = {"preprocessing.size": 32, "data.batch_size": 4, "data.workers": 0}


def photo(path, seed, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(seed)
    values = random.randint(0, 256, (40, 40, 3), np.uint8) if mode == "RGB" else random.randint(0, 4096, (40, 40))
    Image.fromarray(values if mode == "RGB" else values.astype(np.uint16)).save(path)


def make(root, folders, mode="RGB"):
    for number, folder in enumerate(folders):
        for i in range(6):
            photo(root / folder / f"{i}.png", 10 * number + i, mode)
    return root


def notes_of_doctor(root):
    return moganet.doctor(str(root))["notes"]


def split_names(tmp_path, _):
    return notes_of_doctor(make(tmp_path / "x", [f"{s}/{c}" for s in ("Training", "seg_test") for c in "ab"]))


def columns(tmp_path, _):
    make(tmp_path, ["a"])
    rows = "".join(f"a/{i}.png,{'xy'[i % 2]},{i % 3}\n" for i in range(6))
    (tmp_path / "t.csv").write_text("image_path,species,patient\n" + rows)
    return moganet.doctor(str(tmp_path / "t.csv") + "?label=species")["notes"]


def classes_and_division(tmp_path, _):
    root = make(tmp_path / "x", "ab")
    return preview("finetune", tmp_path / "a.png", str(root), SMALL, start="none")["notes"]


def random_weights(tmp_path, _):
    return moganet.train(
        "digits",
        overrides={"trainer.max_steps": 1, "network.embed_dims": [8, 8, 16, 16], "network.depths": [1, 1, 1, 1]},
        out=tmp_path / "run",
    )["notes"]


def untrained(tmp_path, _):
    photo(tmp_path / "a.png", 0)
    with pytest.warns(UserWarning, match="untrained"):
        return moganet.predict("moganet_nano", [tmp_path / "a.png"])["notes"]


def white_level(tmp_path, run):
    return moganet.predict(run, [make(tmp_path / "x", "a", "I;16")])["notes"]


def form_of_weights(tmp_path, _):
    state = dict(read_checkpoint(GOLDEN / "mini_official.pth.tar").state)
    averaged = {name: 0.5 * tensor if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    torch.save({"state_dict": state, "state_dict_ema": averaged}, tmp_path / "own.pth")
    return moganet.info(tmp_path / "own.pth")["notes"]


def prefix_of_weights(tmp_path, _):
    state = read_checkpoint(GOLDEN / "mini_official.pth.tar").state
    torch.save({f"model.net.{name}": tensor for name, tensor in state.items()}, tmp_path / "own.pth")
    return moganet.info(tmp_path / "own.pth")["notes"]


def several_frames(tmp_path, run):
    frames = [Image.new("L", (20, 20), value) for value in (0, 255)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    return moganet.predict(run, [tmp_path / "a.gif"])["notes"]


def data_of_the_run(_, run):
    return moganet.evaluate(run, split="val")["notes"]


GUESSES = {
    split_names: ("Training/ for train", "seg_test/ for test", "split=none"),
    columns: ("patient", "group"),
    classes_and_division: ("2 classes (a 5, b 5)", "data.validation="),
    random_weights: ("random", "--from"),
    untrained: ("untrained", "weights"),
    white_level: ("65535", "white_level"),
    form_of_weights: ("weights (a guess", "--weights"),
    prefix_of_weights: ("model.net.",),
    several_frames: ("first",),
}


@pytest.mark.parametrize("guess", GUESSES, ids=lambda guess: guess.__name__)
def test_a_guess_is_said_with_the_way_to_choose_otherwise(guess, tmp_path, trained_run):
    notes = guess(tmp_path, trained_run)
    for words in GUESSES[guess]:
        assert any(words in note for note in notes), notes
    assert len(notes) == len(set(notes)) and all("\n" not in note for note in notes)


def test_what_is_no_guess_is_not_said(trained_run, tmp_path):
    make(tmp_path / "x", [f"{split}/{name}" for split in ("train", "val", "test") for name in "ab"])
    assert not notes_of_doctor(tmp_path / "x")
    photo(tmp_path / "a.png", 1)
    assert not moganet.predict(trained_run, [tmp_path / "a.png"])["notes"]
