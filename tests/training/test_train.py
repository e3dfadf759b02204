"""A run's folder, its files, and what may go wrong on the way to them."""

import csv
import importlib.util
import json

import pytest
import torch
import yaml
from test_sources import make_folder

import moganet
from moganet.errors import ConfigError, DataError, MogaNetError, OutputError, TrainingError
from moganet.inference import load_model_file
from moganet.models.fixtures import replay_fixtures
from moganet.tasks.recipes import load_recipe

TINY = {
    "network.embed_dims": [8, 8, 16, 16],
    "network.depths": [1, 1, 1, 1],
    "network.mlp_ratios": [2, 2, 2, 2],
    "trainer.max_epochs": 1,
    "data.batch_size": 16,
    "data.validation": 60,
}


def test_a_run_leaves_every_file_and_learns(trained_run):
    files = {path.name for path in trained_run.iterdir()}
    assert {"recipe.yaml", "metrics.csv", "tensorboard", "last.ckpt", "best.safetensors", "last.safetensors"} <= files
    assert (trained_run / "curves.png").stat().st_size > 5000
    assert list((trained_run / "tensorboard").glob("events*"))
    with open(trained_run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["train/loss"]) for row in rows]
    assert len(losses) == 3 and losses[-1] < losses[0]
    columns = ["epoch", "step", "lr/pg1", "lr/pg2", "train/loss", "train/top1", "train/images_per_second"]
    assert list(rows[0]) == [*columns, "val/loss", "val/top1"]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"] and all(all(row.values()) for row in rows)
    result = json.loads((trained_run / "result.json").read_text())
    best = next(row for row in rows if row["epoch"] == str(result["best"]["epoch"]))
    assert float(best["val/top1"]) == pytest.approx(result["best"]["top1"]) and int(rows[-1]["step"]) == result["steps"]
    assert not list(trained_run.rglob("*partial*"))


def test_its_model_file_tells_where_it_comes_from(trained_run):
    state, description = load_model_file(trained_run / "best.safetensors")
    assert description.class_names == tuple("0123456789")
    provenance = description.provenance
    assert provenance["data"] == "digits" and provenance["seed"] == 0
    assert 0 <= provenance["validation"]["top1"] <= 1 and provenance["versions"]["torch"] == torch.__version__
    recipe = load_recipe(trained_run / "recipe.yaml")
    assert provenance["recipe"] == recipe.model_dump(mode="json")
    assert recipe.network.num_classes == 10 and recipe.network.name == "moganet_nano"
    predictor = moganet.load(trained_run)
    assert replay_fixtures(predictor.config, predictor.outputs) < 1e-4
    assert state.keys() == predictor.model.state_dict().keys()


def test_a_resolved_recipe_repeats_the_run(tmp_path):
    overrides = {**TINY, "data.batch_size": 200, "trainer.ema": 0.9, "augment.mixup": 0.5}
    moganet.train("digits", overrides=overrides, out=tmp_path / "run")
    again = moganet.train(tmp_path / "run" / "recipe.yaml", out=tmp_path / "again")
    assert again["out"] == str(tmp_path / "again")
    for file in ("best.safetensors", "last.safetensors"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "run" / file).read_bytes()


def test_another_seed_gives_other_weights(tmp_path):
    for seed in (0, 1):
        moganet.train("digits", overrides={**TINY, "seed": seed, "trainer.max_steps": 2}, out=tmp_path / str(seed))
    states = [load_model_file(tmp_path / str(seed) / "last.safetensors")[0] for seed in (0, 1)]
    assert not torch.equal(states[0]["head.weight"], states[1]["head.weight"])


@pytest.mark.parametrize(
    "overrides",
    [
        {"augment.mixup": 1.0, "augment.cutmix": 1.0, "trainer.ema": 0.9},
        {"augment.cutmix": 1.0, "augment.mix_prob": 0.5, "loss.name": "bce"},
        {
            "augment.crop": "resized",
            "augment.erasing": 0.5,
            "augment.hflip": 0.5,
            "augment.color_jitter": [0.2, 0.2, 0.2],
        },
        {"augment.crop": "pad", "trainer.accumulate": 2, "optimizer.name": "sgd", "schedule.name": "constant"},
        {"network.channel_aggregation": "paddle", "network.gate": "double", "optimizer.decay_all": True},
        {
            "trainer.channels_last": True,
            "data.validation": "test",
            "network.drop_rate": 0.1,
            "network.drop_path_rate": 0.1,
        },
        {"data.drop_last": False, "data.batch_size": 1000, "trainer.validate_every": 2, "trainer.max_epochs": 2},
        {"trainer.precision": "bf16", "trainer.max_steps": 2},
    ],
    ids=lambda o: " ".join(o),
)
def test_settings_take_part_in_a_run(overrides, tmp_path):
    result = moganet.train("digits", overrides={**TINY, "trainer.max_steps": 6, **overrides}, out=tmp_path / "run")
    assert (tmp_path / "run" / "best.safetensors").is_file()
    assert result["steps"] > 0 and result["train_loss"] is not None
    assert moganet.load(tmp_path / "run").logits(torch.zeros(1, 1, 32, 32)).isfinite().all()


@pytest.mark.parametrize(
    ("overrides", "wrong"),
    [
        ({"augment.hflip": 0.3}, r"augment\.hflip is 0\.3; set augment\.hflip=0\.5"),
        (
            {"augment.hflip": 0.5, "augment.auto_augment": "rand-m3", "preprocessing": {"size": 32, "channels": 3}},
            r"augment\.auto_augment; leave",
        ),
    ],
)
def test_what_does_not_go_with_mirroring_by_turns_is_said(overrides, wrong, tmp_path):
    with pytest.raises(ConfigError, match=wrong):
        moganet.train("digits", overrides={**TINY, "augment.hflip_by_turns": True, **overrides}, out=tmp_path / "run")


@pytest.mark.parametrize(("has_units", "chosen"), [(True, "bf16"), (False, "f32")])
def test_auto_takes_bf16_where_the_processor_has_units_for_it(has_units, chosen, tmp_path, monkeypatch):
    monkeypatch.setattr("moganet.training.resolve.has_fast_bf16", lambda device: has_units)
    overrides = {**TINY, "trainer.max_steps": 1, "trainer.precision": "auto"}
    moganet.train("digits", overrides=overrides, out=tmp_path / "run")
    assert load_recipe(tmp_path / "run" / "recipe.yaml").trainer.precision == chosen
    # Elsewhere, a run goes on as it began: another precision would be another run.
    (tmp_path / "run" / "result.json").unlink()
    monkeypatch.setattr("moganet.training.resolve.has_fast_bf16", lambda device: not has_units)
    assert moganet.train("digits", overrides=overrides, out=tmp_path / "run", resume=True)["steps"] == 1
    with pytest.raises(ConfigError, match=r"trainer\.precision"):
        other = "f32" if has_units else "bf16"
        moganet.train("digits", overrides={**overrides, "trainer.precision": other}, out=tmp_path / "run", resume=True)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_a_step_is_as_long_as_clipping_allows(precision, tmp_path):
    plain = {"optimizer": {"name": "momentum", "lr": 1.0, "weight_decay": 0.0}, "schedule": {"name": "constant"}}
    states = {}
    for norm in (1e-2, 1e-9):  # the second hardly moves
        overrides = {**TINY, **plain, "trainer.max_steps": 1, "trainer.ema": None, "trainer.precision": precision}
        moganet.train("digits", overrides={**overrides, "trainer.clip_norm": norm}, out=tmp_path / str(norm))
        state, _ = load_model_file(tmp_path / str(norm) / "last.safetensors")
        states[norm] = torch.cat([v.flatten() for k, v in state.items() if "running" not in k and "num_b" not in k])
    assert torch.dist(*states.values()).item() == pytest.approx(1e-2, rel=0.02)
    saved = torch.load(tmp_path / "0.01" / "last.ckpt", weights_only=True)
    assert all(group["fused"] for group in saved["optimizer_states"][0]["param_groups"])


SMALL_PHOTOS = {
    **TINY,
    "preprocessing": {"size": 32},
    "augment": {"crop": "resized", "hflip": 0.5},
    "data.validation": None,
    "data.batch_size": 7,
    "data.workers": 0,
}


def test_photographs_in_a_folder_train_with_workers_and_odd_files_are_named(tmp_path):
    root = make_folder(tmp_path / "photos", ("train", "val"), 10)
    (root / "train" / "red" / "broken.jpg").write_text("no image")
    (root / "val" / "red" / "broken.jpg").write_text("no image")
    overrides = {**SMALL_PHOTOS, "data.workers": 2, "trainer.max_epochs": 6, "optimizer.lr": 0.01}
    result = moganet.train("digits", data=str(root), overrides=overrides, out=tmp_path / "run")
    assert result["best"]["top1"] > 0.9
    assert all("broken.jpg" in bad["file"] for bad in result["unreadable"]) and len(result["unreadable"]) == 2
    assert moganet.load(tmp_path / "run").class_names == ("blue", "red")
    evaluated = moganet.evaluate(tmp_path / "run")
    assert evaluated["split"] == "val" and evaluated["num_images"] == 20 and len(evaluated["unreadable"]) == 1
    moved = moganet.evaluate(tmp_path / "run", data=str(make_folder(tmp_path / "other", ("test",), 4) / "test"))
    assert moved["num_images"] == 8 and moved["split"] == "all"


def test_a_folder_with_a_run_is_not_written_over(trained_run):
    before = (trained_run / "best.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="already holds a run"):
        moganet.train("digits", out=trained_run)
    assert (trained_run / "best.safetensors").read_bytes() == before


def test_runs_without_a_folder_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        result = moganet.train("digits", overrides={**TINY, "trainer.max_steps": 1})
        assert result["out"] == f"runs/digits-{number}"


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")  # torch of the network that is refused
@pytest.mark.parametrize(
    ("overrides", "error", "said"),
    [
        ({"data.batch_size": 5000}, DataError, "fewer than one batch"),
        ({"network.num_classes": 3}, ConfigError, "leave it out"),
        ({"network": "huge"}, ConfigError, "no variant"),
        ({"optimizer.name": "adamq"}, ConfigError, "optimizer"),
        ({"data.source": "nowhere"}, DataError, "neither"),
        ({"network.embed_dims": [1, 1, 1, 1]}, ConfigError, "leaves a group"),
    ],
)
def test_what_can_not_be_trained_is_said_before_anything_is_written(overrides, error, said, tmp_path):
    with pytest.raises(error, match=said):
        moganet.train("digits", overrides={**TINY, **overrides}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_impossible_folder_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't make the folder"):
        moganet.train("digits", overrides=TINY, out=tmp_path / "file" / "run")


def test_a_recipe_file_is_yaml_that_people_can_read(trained_run):
    values = yaml.safe_load((trained_run / "recipe.yaml").read_text())
    assert list(values)[:4] == ["name", "task", "seed", "network"]


@pytest.mark.parametrize(("fraction", "trained_on"), [(1.0, 32), (0.5, 16)])
def test_a_folder_that_has_changed_since_training_is_not_divided_again(fraction, trained_on, tmp_path):
    root = make_folder(tmp_path / "photos", ("all",), 20) / "all"
    overrides = {**SMALL_PHOTOS, "data.fraction": fraction}
    moganet.train("digits", data=str(root), overrides=overrides, out=tmp_path / "run")
    assert moganet.evaluate(tmp_path / "run", split="val")["num_images"] == 8
    assert moganet.evaluate(tmp_path / "run", split="train")["num_images"] == trained_on
    renamed = root.rename(tmp_path / "renamed")
    assert moganet.evaluate(tmp_path / "run", data=str(renamed), split="val")["num_images"] == 8
    renamed.rename(root)
    (root / "red" / "3.png").rename(root / "red" / "new.png")
    with pytest.raises(DataError, match="has changed since"):
        moganet.evaluate(tmp_path / "run", split="val")


def test_a_validation_batch_without_a_readable_file_stops_nothing(tmp_path):
    root = make_folder(tmp_path / "photos", ("train", "val"), 7)
    for i in range(3):
        (root / "val" / "red" / f"z{i}.png").write_text("no image")  # the last batch of 7 + 7 + 3
    result = moganet.train("digits", data=str(root), overrides=SMALL_PHOTOS, out=tmp_path / "run")
    assert len(result["unreadable"]) == 3 and result["best"] is not None


def test_an_overwritten_run_leaves_nothing_behind_and_a_refused_one_everything(tmp_path):
    out = tmp_path / "run"
    moganet.train("digits", overrides={**TINY, "trainer.max_steps": 3}, out=out)
    moganet.evaluate(out)
    with pytest.raises(ConfigError):
        moganet.train("digits", overrides={**TINY, "optimizer.betas": [1, 1]}, out=out, overwrite=True)
    assert (out / "best.safetensors").exists() and (out / "evaluation-test").exists()
    moganet.train("digits", overrides={**TINY, "trainer.max_steps": 1}, out=out, overwrite=True)
    assert not (out / "evaluation-test").exists() and len(list((out / "tensorboard").iterdir())) <= 2


@pytest.mark.parametrize(
    "overrides",
    [
        {"seed": -1},
        {"trainer.accelerator": "gpu"},
        {"optimizer.betas": [1, 1]},
        {"network.channel_split": [0, 0, 0]},
        {"trainer.precision": "f16"},
        {"network.in_chans": 3},
        {"data.validation": 1.0},
        {"data.fraction": 0.0},
        {"data.fraction": 1.5},
        {"data.batch_size": 1},
        {"data.batch_size": 4, "data.drop_last": False},
        {"logger": "wandbb"},
        {"logger": "wandb"},
        {"loss.class_weights": [1, 2]},
        {"loss.teacher": "/no/such/model"},
        {"start.model": "/no/such/model"},
        {"augment.auto_augment": "rand-m9"},
    ],
    ids=lambda o: " ".join(o),
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU makes some of these settings possible")
def test_every_wrong_setting_is_one_line_and_leaves_no_folder(overrides, tmp_path):
    if overrides.get("logger") == "wandb" and importlib.util.find_spec("wandb"):
        pytest.skip("wandb is installed here")
    with pytest.raises(MogaNetError) as caught:
        moganet.train("digits", overrides={**TINY, **overrides}, out=tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "overrides",
    [
        {"loss.name": "bce", "loss.bce_threshold": 0.2, "augment.mixup": 0.5},
        {"loss.class_weights": "balanced", "data.balanced": True},
        {"schedule.name": "multistep", "optimizer.name": "lamb"},
        {"schedule.name": "poly", "optimizer.layer_decay": 0.8, "optimizer.lr_per": 64},
        {"trainer.grad_checkpointing": True, "trainer.early_stop": 1, "trainer.max_epochs": 2},
        {"logger": ["csv"]},
    ],
    ids=lambda o: " ".join(o),
)
def test_more_settings_take_part_in_a_run(overrides, tmp_path):
    result = moganet.train("digits", overrides={**TINY, "trainer.max_steps": 6, **overrides}, out=tmp_path / "run")
    assert result["train_loss"] is not None and result["steps"] > 0
    assert (tmp_path / "run" / "tensorboard").exists() == ("logger" not in overrides)


def test_policies_of_timm_reach_sets_in_memory_and_files(tmp_path):
    root = make_folder(tmp_path / "photos", ("train", "val"), 10)
    for i, policy in enumerate(("rand-m7-mstd0.5-inc1", "3a")):
        overrides = {**SMALL_PHOTOS, "augment.auto_augment": policy, "augment.erasing": 0.25}
        result = moganet.train("digits", data=str(root), overrides=overrides, out=tmp_path / str(i))
        assert result["best"] is not None


def test_finetuning_starts_from_weights_freezes_and_keeps_the_statistics(trained_run, tmp_path):
    root = make_folder(tmp_path / "photos", ("train", "val"), 10)
    source, old = load_model_file(trained_run / "best.safetensors")
    result = moganet.train(
        "digits",
        data=str(root),
        overrides={
            **SMALL_PHOTOS,
            "preprocessing": {"size": 24, "channels": 1, "mean": 0, "std": 1},
            "start.freeze": 2,
        },
        start=trained_run,
        out=tmp_path / "run",
    )
    tuned, new = load_model_file(tmp_path / "run" / "last.safetensors")
    assert new.preprocessing.mean == old.preprocessing.mean and new.preprocessing.size == (24, 24)
    assert new.architecture.embed_dims == old.architecture.embed_dims and new.class_names == ("blue", "red")
    for name, tensor in source.items():
        if name.startswith(("patch_embed1", "blocks1", "norm1", "patch_embed2", "blocks2", "norm2")):
            assert torch.equal(tensor, tuned[name]), name
    assert not torch.equal(source["blocks3.0.attn.proj_1.weight"], tuned["blocks3.0.attn.proj_1.weight"])
    assert result["steps"] > 0


def test_the_same_classes_keep_their_head_and_teach(trained_run, tmp_path):
    overrides = {"trainer.max_steps": 1, "optimizer.lr": 1e-9, "trainer.ema": None, "loss.teacher": str(trained_run)}
    moganet.train("digits", overrides=overrides, start=trained_run, out=tmp_path / "run")
    before, after = (moganet.evaluate(run, out=tmp_path / "e")["top1"] for run in (trained_run, tmp_path / "run"))
    assert after > before - 0.1


def test_a_loss_that_is_not_finite_names_step_rate_and_module(tmp_path):
    with pytest.raises(TrainingError) as caught:
        moganet.train("digits", overrides={**TINY, "optimizer.name": "sgd", "optimizer.lr": 1e30}, out=tmp_path / "run")
    text = str(caught.value)
    assert "at step 1 (learning rate " in text and "e+29)" in text and "patch_embed1" in text and "last.ckpt" in text
    assert moganet.load(tmp_path / "run" / "last.ckpt").logits(torch.zeros(1, 1, 32, 32)).isfinite().all()


def test_the_finder_chooses_a_batch_and_writes_it_down(tmp_path):
    overrides = {**TINY, "trainer.max_steps": 1, "data.fraction": 0.1}
    assert moganet.train("digits", overrides=overrides, find_batch=True, out=tmp_path / "batch")["steps"] == 1
    size = load_recipe(tmp_path / "batch" / "recipe.yaml").data.batch_size
    assert size > 16 and size & (size - 1) == 0


def test_a_preview_shows_augmented_images_and_trains_nothing(tmp_path):
    from moganet.engine.preview import preview

    result = preview("digits", tmp_path / "p.png", overrides={"augment.mixup": 1.0})
    assert result["images"] == 40 and result["size"] == [32, 32]
    assert (tmp_path / "p.png").stat().st_size > 10_000 and len(list(tmp_path.iterdir())) == 1


def test_last_ckpt_is_a_model_too(trained_run):
    a, b = moganet.load(trained_run / "last.ckpt"), moganet.load(trained_run / "last.safetensors")
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(a.logits(x), b.logits(x)) and a.class_names == b.class_names
