"""Whose a run's folder is: claimed, locked to the end, never mixed with what is not a run's, gone where none began."""

import os
import threading
import zipfile
from pathlib import Path

import pytest
from test_sources import make_folder

import moganet
from moganet.errors import ConfigError, DataError, MogaNetError, OutputError, WeightsError
from moganet.training import run_folder
from moganet.training.run_folder import claim_folder, clear_folder

TINY = {
    **{"network.embed_dims": [8, 8, 16, 16], "network.depths": [1, 1, 1, 1], "network.mlp_ratios": [2, 2, 2, 2]},
    **{"trainer.max_steps": 1, "data.batch_size": 16, "logger": "csv"},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    moganet.train("digits", overrides=TINY, out=out)
    return out


def test_runs_that_begin_at_once_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    claimed, gate = [], threading.Barrier(8)

    def claim():
        gate.wait()
        claimed.append(claim_folder("digits"))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, claimed)) == [f"runs/digits-{number}" for number in range(1, 9)]


@pytest.mark.parametrize("name", ["../../up", "/etc/passwd", "a b\n", "..", "", "ö" * 300, "."])
def test_a_recipes_name_is_no_path(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = claim_folder(name)
    assert folder.resolve().parent == tmp_path / "runs" and folder.is_dir()


def test_a_place_for_runs_that_is_none_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs").write_text("")
    with pytest.raises(OutputError, match="--out"):
        claim_folder("digits")


@pytest.mark.parametrize("name", ["photo.jpg", "notes", "best.onnx", "last.ckpt"])
@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}], ids=str)
def test_a_filled_folder_that_holds_no_run_is_left_alone(name, options, tmp_path):
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    (tmp_path / "mine" / name).write_text("mine")
    with pytest.raises(ConfigError, match="choose another --out"):
        moganet.train("digits", overrides=TINY, out=tmp_path / "mine", **options)
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == sorted(["deep", name])
    assert (tmp_path / "mine" / name).read_text() == "mine"


def test_overwriting_takes_a_runs_own_files_and_follows_no_link(tmp_path):
    out, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    for folder in (out, elsewhere):
        folder.mkdir()
    for name in ("recipe.yaml", "best.onnx", "last.ckpt"):
        (out / name).write_text(name)
    (elsewhere / "events").write_text("precious")
    (out / "tensorboard").symlink_to(elsewhere)
    (out / "curves.png").symlink_to(tmp_path / "nowhere")
    (out / "best.safetensors").symlink_to(elsewhere / "events")
    result = moganet.train("digits", overrides={**TINY, "logger": "tensorboard"}, out=out, overwrite=True)
    assert (elsewhere / "events").read_text() == "precious" and (out / "best.onnx").read_text() == "best.onnx"
    assert not (out / "tensorboard").is_symlink() and (out / "best.safetensors").stat().st_size > 1000
    assert any("keeps what is no training's: best.onnx" in note for note in result["notes"])


@pytest.mark.parametrize(
    "options",
    [
        {"overrides": {"augment.pad": 500, "augment.crop": "pad"}},
        {"overrides": {"data.source": "nowhere"}},
        {"recipe": "no-such-recipe"},
        {"start": "/no/such/model"},
    ],
    ids=str,
)
@pytest.mark.parametrize("out", [None, "a/b/run"])
def test_a_start_that_fails_leaves_no_folder(options, out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"recipe": "digits", **options}
    with pytest.raises(MogaNetError):
        moganet.train(**{**options, "overrides": {**TINY, **options.get("overrides", {})}}, out=out)
    assert not list(tmp_path.iterdir())


def test_images_that_can_not_be_read_are_seen_before_a_folder_is_made(tmp_path, monkeypatch):
    photos = make_folder(tmp_path / "photos", ("train", "val"), 6)
    for file in photos.rglob("*.png"):
        file.write_text("none")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"of the 12 images of .*train. 12 were tried, and none can be read; the first"):
        moganet.train("finetune", data=str(photos), overrides={"data.batch_size": 4})
    assert not (tmp_path / "runs").exists()


def test_a_run_among_the_images_is_said(tmp_path, monkeypatch):
    photos = make_folder(tmp_path / "photos", ("all",), 10) / "all"
    monkeypatch.chdir(photos)
    overrides = {**TINY, "preprocessing": {"size": 32}, "data.workers": 0, "data.validation": 0.3, "data.batch_size": 4}
    result = moganet.train("digits", data=".", overrides=overrides)
    assert any("lies among the images" in note and "--out" in note for note in result["notes"])
    elsewhere = moganet.train("digits", data=".", overrides=overrides, out=tmp_path / "run")
    assert not any("lies among the images" in note for note in elsewhere["notes"])


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}], ids=str)
def test_the_folder_is_locked_until_curves_and_report_are_written(options, tmp_path, monkeypatch):
    out, refused = tmp_path / "run", []

    def draw(*_):
        (out / "recipe.yaml").stat()
        with pytest.raises(ConfigError, match="another process is training"):
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()
            raise refused[0]

    def second():
        try:
            moganet.train("digits", overrides=TINY, out=out, **options)
        except MogaNetError as error:
            refused.append(error)

    monkeypatch.setattr("moganet.report.curves.draw_curves", draw)
    moganet.train("digits", overrides=TINY, out=out)
    assert len(refused) == 1 and not (out / ".lock").exists()


@pytest.mark.parametrize("name", ["result.json", "recipe.yaml", "metrics.csv", "last.ckpt"])
@pytest.mark.parametrize("what", ["pipe", "zero", "noise", "bomb"])
def test_a_hostile_folder_ends_in_a_line(name, what, finished, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    for own in finished.iterdir():
        if own.is_file() and not (name != "result.json" and own.name == "result.json"):
            (out / own.name).write_bytes(own.read_bytes())
    (out / name).unlink()
    if what == "pipe":
        os.mkfifo(out / name)
    elif what == "zero":
        (out / name).symlink_to("/dev/zero")
    else:
        (out / name).write_bytes(bytes(range(256)) if what == "noise" else BOMB)
    if name == "metrics.csv" and what in ("noise", "bomb"):
        moganet.train("digits", overrides=TINY, out=out, resume=True)  # last.ckpt has its rows
        return
    with pytest.raises(MogaNetError) as caught:
        moganet.train("digits", overrides=TINY, out=out, resume=True)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


BOMB = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"\n".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]".encode() for i in range(12)
)


def test_one_flipped_bit_of_last_ckpt_is_noticed(finished, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    for name in ("recipe.yaml", "last.ckpt", "last.safetensors"):
        (out / name).write_bytes((finished / name).read_bytes())
    content = bytearray((out / "last.ckpt").read_bytes())
    with zipfile.ZipFile(out / "last.ckpt") as archive:  # between its members there is padding, of which nobody reads
        member = archive.read(max(archive.infolist(), key=lambda one: one.file_size))
    content[content.index(member) + len(member) // 2] ^= 0x40
    (out / "last.ckpt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"is not what was written.*--from .*last\.safetensors"):
        moganet.train("digits", overrides=TINY, out=out, resume=True)


def test_a_folder_that_can_not_be_cleared_is_said(tmp_path, monkeypatch):
    (tmp_path / "recipe.yaml").write_text("x")

    def fail(path):
        raise OSError("no error number")

    monkeypatch.setattr(Path, "unlink", fail)
    with pytest.raises(OutputError, match=r"can't clear the folder .*: no error number"):
        clear_folder(tmp_path, keep=False)


def test_what_was_measured_is_given_where_it_can_not_be_written(finished, monkeypatch):
    def fail(*_):
        raise OutputError("can't write it")

    monkeypatch.setattr("moganet.engine.evaluate.write_text", fail)
    result = moganet.evaluate(finished)
    assert result["top1"] >= 0 and "can't write it" in result["unwritten"]
    assert any("--out" in note for note in result["notes"])


def test_an_own_name_for_each_file_of_a_run():
    assert len(set(run_folder.RUN_OUTPUTS)) == len(run_folder.RUN_OUTPUTS)
