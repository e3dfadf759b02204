"""What a training gives: typed, the same as the JSON in its folder, and said in lines."""

import json

import pytest

from moganet.errors import ConfigError
from moganet.results import LeftOut
from moganet.training.outcome import TrainResult, Validated, read_result, write_result


def result(out, **given) -> TrainResult:
    best = Validated(epoch=2, loss=float("nan"), top1=0.931)
    plain = {"out": str(out), "epochs": 3, "steps": 12, "seconds": 4.2, "images_per_second": 9.0, "train_loss": 0.5}
    left_out = LeftOut(file="a\udcff.png", reason="none")
    return TrainResult(**{**plain, "best": best, "last": None, "unreadable": (left_out,), **given})


def test_what_is_written_is_what_is_read(tmp_path):
    given = result(tmp_path, notes=("said",))
    write_result(given)
    values = json.loads((tmp_path / "result.json").read_text())
    assert next(iter(values)) == "out" and list(values)[-1] == "notes" and "report" not in values
    assert values["best"] == {"epoch": 2, "loss": None, "top1": 0.931}  # JSON knows no NaN
    read = read_result(tmp_path)
    assert read == values and read["best"]["top1"] == read.best.top1 == 0.931 and read.unreadable == given.unreadable


def test_it_is_said_in_lines(tmp_path):
    lines = list(result(tmp_path, report="page.html").lines())
    assert lines[0] == "trained 3 epochs (12 steps) in 4 s"
    assert lines[1] == "best validation top-1: 93.10 % after epoch 2"
    assert lines[2].endswith("(best.safetensors, last.safetensors, curves.png, metrics.csv)")
    assert lines[3] == "how good it is, and where it fails: page.html"
    assert len(list(result(tmp_path, best=None).lines())) == 2


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", "[" * 100_000, '{"out": 3}', '{"best": {"epoch": 1, "top1": "high"}}', "NaN"]
)
def test_what_no_run_wrote_is_a_line(text, tmp_path):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(ConfigError, match=r"result\.json is not what a run writes") as caught:
        read_result(tmp_path)
    assert "\n" not in str(caught.value)
