"""The benchmarks measure what they say; what the numbers are is not tested."""

import pytest
import timm
import torch
from box_sets import make_coco
from PIL import Image
from stick_figures import make_people

import moganet
from moganet.engine.benchmark import ALTERNATIVES, with_alternatives
from moganet.engine.profile import profile
from moganet.errors import ConfigError, OutputError
from moganet.network import VARIANTS
from moganet.training.assemble import build_task

SMALL = {"network.embed_dims": [8, 8, 16, 16], "network.depths": [1, 1, 1, 1], "data.batch_size": 32}


@pytest.fixture
def quick(monkeypatch):
    """Leave out what takes seconds: long rounds, and a process a model for its memory."""
    monkeypatch.setattr("moganet.engine.benchmark.SECONDS_A_ROUND", 0.0)
    monkeypatch.setattr("moganet.engine.benchmark.LATENCIES", 3)
    monkeypatch.setattr("moganet.engine.benchmark.peak_memory", lambda *_: 1.0)


def test_the_pipeline_and_the_network_are_both_timed():
    result = moganet.benchmark_data("digits", overrides=SMALL)
    assert result["images_per_second"] > 0 and result["training_images_per_second"] > 0
    assert result["ratio"] == result["images_per_second"] / result["training_images_per_second"]
    assert result["size"] == [32, 32] and result["environment"]["cores"] >= 1


@pytest.mark.parametrize(("precision", "dtype"), [("f32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_network_of_a_recipe_trains_in_its_precision(precision, dtype, monkeypatch):
    seen = set()

    def watched(*made):
        task = build_task(*made)
        task.network.head.register_forward_hook(lambda module, given, logits: seen.add(logits.dtype))
        return task

    monkeypatch.setattr("moganet.engine.benchmark_data.build_task", watched)
    result = moganet.benchmark_data("digits", overrides={**SMALL, "trainer.precision": precision})
    assert result["precision"] == precision and seen == {dtype}


@pytest.mark.parametrize(
    ("recipe", "source", "make"), [("detect", "coco", make_coco), ("pose", "keypoints", make_people)]
)
def test_a_step_of_any_task_is_timed(recipe, source, make, tmp_path, monkeypatch):
    monkeypatch.setattr("moganet.engine.benchmark_data.ROUNDS", 1)
    monkeypatch.setattr("moganet.engine.profile.STEPS", 1)
    overrides = {**SMALL, "data.batch_size": 2, "start.model": None, "data.workers": 0, "trainer.precision": "f32"}
    overrides |= {"task.head.neck": 16, "task.head.hidden": 16} if recipe == "detect" else {"task.head.channels": [16]}
    overrides |= {"preprocessing.size": [64, 48], "augment.short_side": None}
    how = {"data": f"{source}:{make(tmp_path / 'set', 2)}", "overrides": overrides}
    assert moganet.benchmark_data(recipe, **how).training_images_per_second > 0
    assert min(profile(recipe, **how).milliseconds.values()) > 0


def test_one_model_is_a_flat_object_with_its_memory(monkeypatch, trained_run):
    monkeypatch.setattr("moganet.engine.benchmark.SECONDS_A_ROUND", 0.0)
    result = moganet.benchmark_infer([str(trained_run)], batch=4)
    assert result["images_per_second"] > 0 and result["latency_p50"] <= result["latency_p95"]
    assert result["size"] == [32, 32] and result["runtime"] == "eager" and result["batch_size"] == 4
    assert result["peak_memory_mb"] > 50  # a process with torch in it
    assert not any(isinstance(value, dict) for key, value in result.items() if key != "environment")


def test_several_models_are_a_list_and_a_picture(quick, tmp_path):
    models = ["moganet_nano", "timm:test_resnet"]
    result = moganet.benchmark_infer(models, size=64, batch=3, picture=tmp_path / "rates.png")
    assert [row["name"] for row in result["models"]] == models
    assert all(row["images_per_second"] > 0 and row["parameters"] > 0 for row in result["models"])
    with Image.open(tmp_path / "rates.png") as image:
        assert image.width > 500


def test_training_steps_say_their_settings(quick, tmp_path):
    result = moganet.benchmark_train(["moganet_nano"], size=32, batch=4)
    assert result["images_per_second"] > 0 and "channels_last" in result["settings"] and "fused" in result["settings"]
    several = moganet.benchmark_train(["nano", "timm:test_resnet"], 64, 4, picture=tmp_path / "t.png")
    assert len(several["models"]) == 2 and several["settings"] == result["settings"] and (tmp_path / "t.png").exists()


def test_alternatives_are_timms_of_like_accuracy():
    assert with_alternatives([], None) == ["moganet_xtiny", *(f"timm:{n}" for n in ALTERNATIVES["moganet_xtiny"])]
    assert with_alternatives(["xt"], None) == ["xt"]
    assert with_alternatives(["t"], True)[1] == f"timm:{ALTERNATIVES['moganet_tiny'][0]}"
    assert with_alternatives([], False) == ["moganet_xtiny"]
    assert ALTERNATIVES.keys() == VARIANTS.keys()
    with torch.device("meta"):
        for name in {name for names in ALTERNATIVES.values() for name in names}:
            assert timm.create_model(name).num_classes == 1000


@pytest.mark.parametrize(
    ("models", "options", "error", "said"),
    [
        (["timm:no_such"], {}, ConfigError, "no_such"),
        (["moganet_nano"], {"batch": 0}, ConfigError, "at least 1"),
        (["moganet_nano"], {"picture": "rates.xyz"}, OutputError, "png"),
    ],
)
def test_what_can_not_be_measured_is_said(models, options, error, said):
    for run in (moganet.benchmark_infer, moganet.benchmark_train):
        with pytest.raises(error, match=said):
            run(models, **{"size": 32, **options})


def test_a_profile_names_the_time_of_each_part_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = profile("digits", overrides=SMALL)
    assert list(result["milliseconds"]) == ["data", "augment", "forward", "backward", "optimizer"]
    assert all(spent > 0 for spent in result["milliseconds"].values()) and sum(
        result["shares"].values()
    ) == pytest.approx(1)
    assert "Conv2d" in result["slowest"] and not list(tmp_path.iterdir())
