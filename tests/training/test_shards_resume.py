"""Training on shards is training on the folder that they were made of, also when it dies and goes on."""

import pytest
import torch
from test_resume import PHOTOS, crashes, outcome
from test_sources import make_folder

import moganet
from moganet.errors import DataError


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    moganet.make_shards(str(make_folder(root / "own", ("train", "val"), 22)), root / "shards")
    return root


def weights(out):
    state = torch.load(out / "last.ckpt", weights_only=False)["state_dict"]
    return torch.cat([one.flatten().float() for one in state.values()])


def test_training_on_shards_is_training_on_the_folder_also_when_it_dies(photos, tmp_path, monkeypatch):
    overrides = {**PHOTOS, "trainer.max_epochs": 1}
    moganet.train("digits", overrides=overrides, data=str(photos / "own"), out=tmp_path / "folder")
    options = {"data": f"shards:{photos / 'shards'}", "out": tmp_path / "shards"}
    assert crashes(monkeypatch, "training_step", 3, overrides=overrides, **options)
    moganet.train("digits", overrides={**overrides, "data.workers": 0}, **options, resume=True)
    assert torch.equal(weights(tmp_path / "folder"), weights(tmp_path / "shards"))
    assert outcome(tmp_path / "folder")["rows"] == outcome(tmp_path / "shards")["rows"]


@pytest.mark.slow
def test_shards_in_turn_go_on_to_the_same_weights(photos, tmp_path, monkeypatch):
    overrides, data = {**PHOTOS, "trainer.max_epochs": 1}, f"shards:{photos / 'shards'}?order=shards&buffer=6"
    moganet.train("digits", overrides=overrides, data=data, out=tmp_path / "whole")
    options = {"overrides": overrides, "data": data, "out": tmp_path / "broken"}
    assert crashes(monkeypatch, "training_step", 3, **options)
    moganet.train("digits", **options, resume=True)
    assert outcome(tmp_path / "whole") == outcome(tmp_path / "broken")


def test_balanced_draws_and_shards_in_turn_exclude_each_other(photos, tmp_path):
    overrides, data = {**PHOTOS, "data.balanced": True}, f"shards:{photos / 'shards'}?order=shards"
    with pytest.raises(DataError, match=r"data\.balanced.*order=shards"):
        moganet.train("digits", overrides=overrides, data=data, out=tmp_path / "run")
