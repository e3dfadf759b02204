"""The mean of several models' weights: of one kind, measured, and written only where it is no worse than the worst."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from once import once
from test_together import changed

import moganet
import moganet_cli
from moganet.errors import ConfigError, DataError, OutputError, WeightsError
from moganet.inference import load_model_file, save_model_file

QUICK = {"trainer.max_epochs": 1, "data.fraction": 0.2}


@pytest.fixture
def runs(trained_run, tmp_path) -> list[Path]:
    """Give two runs that began from the same trained weights."""

    def make(folder: Path) -> None:
        for number, rate in enumerate((1e-3, 5e-4)):
            moganet.train(
                "digits", overrides={**QUICK, "optimizer.lr": rate}, out=folder / str(number), start=trained_run
            )

    made = shutil.copytree(once("averaged_runs", make), tmp_path / "runs")
    return [made / "0", made / "1"]


def refused(kind, match, *models, **options):
    with pytest.raises(kind, match=match):
        moganet.average(models, **options)


def test_what_begins_alike_is_averaged_and_measured(runs, tmp_path):
    out = tmp_path / "mean.safetensors"
    result = moganet.average(runs, out, workers=0)
    assert "loss" in result.table().heads and "written to" in " ".join(result.lines())
    (first, one), (second, other), (mean, described) = (
        load_model_file(path) for path in (*(run / "best.safetensors" for run in runs), out)
    )
    for name, tensor in mean.items():
        if "running" not in name and "num_batches" not in name:
            assert torch.allclose(tensor, (first[name] + second[name]) / 2, atol=1e-6), name
    statistics = [name for name in mean if name.endswith("running_mean")]
    plain = [(first[name] + second[name]) / 2 for name in statistics]
    assert result["statistics"] == "recomputed" and not all(
        torch.allclose(mean[name], expected, atol=1e-6) for name, expected in zip(statistics, plain, strict=True)
    )
    named = [(part["model"], part["sha256"]) for part in described.provenance["averaged"]]
    assert named == [(run.name, part.sha256) for run, part in zip(runs, (one, other), strict=True)]
    assert [part["top1"] for part in result["models"]] == [
        moganet.evaluate(run, split="val", out=tmp_path / "x")["top1"] for run in runs
    ]
    assert (
        result["average"]["top1"]
        == moganet.evaluate(out, split="val")["top1"]
        >= min(part["top1"] for part in result["models"])
    )
    assert moganet.verify(out)["ok"] and described.task.guard is not None and described.task.temperature is None


def test_an_average_that_is_worse_than_the_worst_is_not_written(runs, trained_run, tmp_path):
    state, description = load_model_file(trained_run / "best.safetensors")
    # The same function by other weights: features of the other sign, so that the mean has none.
    turned = {name: -state[name] for name in ("norm4.weight", "norm4.bias", "head.weight")}
    turned = {**state, **turned}
    save_model_file(tmp_path / "turned.safetensors", turned, description.changed(fixtures=()))
    out = tmp_path / "mean.safetensors"
    refused(
        WeightsError, "worse|worst", trained_run, tmp_path / "turned.safetensors", out=out, data="digits", workers=0
    )
    assert not out.exists()


def test_what_is_not_alike_is_refused(runs, trained_run, tmp_path):
    best, out = runs[0] / "best.safetensors", tmp_path / "mean.safetensors"
    refused(ConfigError, "two models or more", best, out=out)
    refused(ConfigError, "have the same weights; give each model once", runs[0], best, out=out)
    refused(ConfigError, "another network, by its embed_dims", best, "moganet_nano.digits", out=out)
    description = load_model_file(best)[1]
    sized = changed(best, tmp_path / "x.safetensors", preprocessing=description.preprocessing.changed(size=(16, 16)))
    refused(ConfigError, "another preprocessing, by its size", runs[1], sized, out=out)
    named = description.task.changed(class_names=tuple("abcdefghij"))
    other = changed(best, tmp_path / "y.safetensors", task=named)
    refused(ConfigError, "other classes", runs[1], other, out=out)
    out.write_bytes(b"precious")
    refused(OutputError, "is there already", *runs, out=out)
    refused(OutputError, "does not end in .safetensors", *runs, out=tmp_path / "mean.bin")
    assert out.read_bytes() == b"precious"


def test_runs_that_held_back_other_images_are_not_compared_on_them(runs, trained_run, tmp_path):
    moganet.train(
        "digits", overrides={**QUICK, "seed": 3, "data.fraction": 0.1}, out=tmp_path / "other", start=trained_run
    )
    both = runs[0], tmp_path / "other"
    refused(
        DataError, r"other was trained on .* of digits \(val\), which .* was not", *both, out=tmp_path / "m.safetensors"
    )


def test_the_command_prints_one_object(runs, tmp_path, capsys):
    words = ["average", *map(str, runs), "--out", str(tmp_path / "mean.safetensors"), "--workers", "0"]
    with pytest.raises(SystemExit) as end:
        moganet_cli.main([*words, "--json"])
    assert end.value.code == 0 and json.loads(capsys.readouterr().out)["metric"] == "top1"
