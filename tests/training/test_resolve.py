"""A recipe that is resolved leaves nothing open, and a run's recipe.yaml gives it back."""

import pytest

from moganet.errors import ConfigError
from moganet.tasks.recipes import load_recipe
from moganet.training.resolve import prepare, read_resolved


def test_nothing_is_open_and_the_file_gives_it_back(tmp_path):
    resolved, dataset = prepare("digits", None, ["trainer.precision=auto", "loss.smoothing=0.2"])
    assert (resolved.network.num_classes, resolved.network.in_chans) == (10, 1)
    assert (resolved.trainer.devices, resolved.trainer.num_nodes, resolved.num_processes) == (1, 1, 1)
    assert resolved.trainer.precision in ("f32", "bf16") and resolved.data.source == dataset.spec
    (tmp_path / "digits.yaml").write_text(resolved.to_yaml())
    assert read_resolved(tmp_path / "digits.yaml") == resolved
    assert load_recipe(tmp_path / "digits.yaml").to_yaml() == resolved.to_yaml()
    assert "smoothing: 0.2" in resolved.to_yaml() and resolved.changed(seed=3).loss == resolved.loss


def test_a_run_of_before_there_were_several_processes_had_one(tmp_path):
    resolved, _ = prepare("digits", None, [])
    lines = resolved.to_yaml().replace("devices: 1", "devices: null").splitlines(keepends=True)
    (tmp_path / "digits.yaml").write_text("".join(line for line in lines if "num_nodes" not in line))
    assert read_resolved(tmp_path / "digits.yaml") == resolved


@pytest.mark.parametrize(
    ("change", "named"),
    [({"network.num_classes": None}, "network.num_classes"), ({"trainer.precision": "auto"}, "trainer.precision")],
)
def test_what_is_open_is_no_runs_recipe(change, named, tmp_path):
    resolved, _ = prepare("digits", None, [])
    (tmp_path / "whole.yaml").write_text(resolved.to_yaml())
    (tmp_path / "open.yaml").write_text(load_recipe(tmp_path / "whole.yaml", change).to_yaml())
    with pytest.raises(ConfigError, match=named) as caught:
        read_resolved(tmp_path / "open.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data.batch_size": 16}, "a step takes 16 images, 64 by the recipe"),
        ({"trainer.devices": 2}, "a step takes 128 images (2 processes of 64), 64 by the recipe"),
        ({"trainer.devices": 2, "data.batch_size": 32}, ""),
        ({"trainer.accumulate": 2, "data.batch_size": 32}, "a step takes 64 images (2 parts of 32)"),
        ({"trainer.devices": 2, "trainer.accumulate": 4}, "a step takes 512 images (2 processes of 4 parts of 64)"),
    ],
)
def test_what_a_step_takes_is_said_where_it_is_not_the_recipes_batch(changes, said, caplog):
    caplog.set_level("INFO", "moganet")
    prepare("digits", None, changes)
    assert said in caplog.text and ("a step takes" in caplog.text) == bool(said)
