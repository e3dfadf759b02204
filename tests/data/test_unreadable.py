"""A set of which nothing can be read: said once, with the number of images, before anything is made."""

import numpy as np
import pytest
import torch
from PIL import Image

import moganet
from moganet.data import FileSplit
from moganet.data.module import _ImageBatches
from moganet.errors import DataError


@pytest.mark.parametrize("number", [1, 5, 150])
def test_images_are_counted_and_not_attempts(number, tmp_path):
    split = FileSplit([tmp_path / f"{i}.png" for i in range(number)], torch.zeros(number, dtype=torch.long))
    with pytest.raises(DataError, match=rf"^{min(number, 107)} of {number} images were tried, and none can be read"):
        _ImageBatches(split, lambda image, target: (image, target), substitute=True).read(
            [i % number for i in range(8)]
        )


def test_a_training_that_can_read_nothing_makes_no_folder(tmp_path):
    (tmp_path / "t.csv").write_text("path,label\n" + "".join(f"im\\{i}.jpg,{i % 2}\n" for i in range(24)))
    with pytest.raises(DataError, match=r"16\b.* were tried,? and none can be read"):
        moganet.train("finetune", data=str(tmp_path / "t.csv"), out=tmp_path / "run", overrides={"data.workers": 0})
    assert not (tmp_path / "run").exists()


def test_a_class_of_which_nothing_could_be_read_is_named_after_the_training(tmp_path):
    for number, name in enumerate(("daisy", "roses", "tulips")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(8):
            noise = np.random.RandomState(100 * number + i).randint(0, 256, (12, 12, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "set" / name / f"{i}.png")
            (tmp_path / "set" / "tulips" / f"{i}.png").write_text(f"no image {i}") if name == "tulips" else None
    tiny = {"preprocessing": {"size": 16}, "network.embed_dims": [8, 8, 16, 16], "network.depths": [1, 1, 1, 1]}
    run = {"trainer.max_epochs": 1, "data.validation": 0.25, "data.batch_size": 6, "data.workers": 0}
    result = moganet.train("digits", str(tmp_path / "set"), {**tiny, **run}, tmp_path / "run")
    assert any("has seen no image of tulips: none of theirs" in note for note in result["notes"])
