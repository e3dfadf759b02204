"""A set of which nothing can be read: said once, with the number of images, before anything is made."""

import pytest
import torch

import moganet
from moganet.data import FileSplit
from moganet.data.module import _ImageBatches
from moganet.errors import DataError


@pytest.mark.parametrize("number", [1, 5, 150])
def test_images_are_counted_and_not_attempts(number, tmp_path):
    split = FileSplit([tmp_path / f"{i}.png" for i in range(number)], torch.zeros(number, dtype=torch.long))
    with pytest.raises(DataError, match=rf"^{min(number, 107)} of {number} images were tried, and none can be read"):
        _ImageBatches(split, lambda image: image, substitute=True).read([i % number for i in range(8)])


def test_a_training_that_can_read_nothing_makes_no_folder(tmp_path):
    (tmp_path / "t.csv").write_text("path,label\n" + "".join(f"im\\{i}.jpg,{i % 2}\n" for i in range(24)))
    with pytest.raises(DataError, match=r"16\b.* were tried,? and none can be read"):
        moganet.train("finetune", data=str(tmp_path / "t.csv"), out=tmp_path / "run", overrides={"data.workers": 0})
    assert not (tmp_path / "run").exists()
