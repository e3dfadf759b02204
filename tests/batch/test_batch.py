"""Batches: the answers of `predict`, from anything that names images, into Parquet that goes on after any end."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from small_model import model, pictures

import moganet
import moganet_cli
from moganet.batch import parts, run
from moganet.batch.inputs import list_inputs, parse_shard
from moganet.batch.run import batch
from moganet.data.shards_read import by_themselves
from moganet.errors import ConfigError, DataError, OutputError

parquet = pytest.importorskip("pyarrow.parquet")
NUMBER = 40


@pytest.fixture(scope="module")
def predictor():
    return moganet.load(model(), runtime="eager")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Forty photographs, one of which is poisoned."""
    root = tmp_path_factory.mktemp("batch") / "photos"
    for i in range(NUMBER):
        (root / f"{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(pictures()[i % 3], i, 0)).save(root / f"{i % 2}" / f"{i:02d}.png")
    (root / "0" / "10.png").write_bytes(b"\x89PNG\r\n\x1a\n poisoned")
    return root


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(run, "BLOCK", 8)
    monkeypatch.setattr(run, "BATCHES", 1)


def rows(out):
    """Give all rows, by their files' names; none may stand twice."""
    found = [row for path in sorted(out.glob("part-*.parquet")) for row in parquet.read_table(path).to_pylist()]
    named = {row["file"]: row for row in found}
    assert len(named) == len(found)
    return named


def test_answers_are_those_of_predict_and_what_is_poisoned_has_its_error(predictor, photos, tmp_path):
    predicted = moganet.predict(predictor, str(photos), batch_size=8)
    result = batch(predictor, str(photos), tmp_path / "out", batch_size=8)
    found = rows(tmp_path / "out")
    for one in predicted.predictions:
        row = found.pop(one.file)
        assert row["classes"] == [{"name": c.name, "probability": c.probability} for c in one.classes]  # bit for bit
        assert (row["class"], row["probability"]) == (one.classes[0].name, one.classes[0].probability)
        assert row["rejected"] == one.rejected and row["error"] is None and row["model"] == result.sha256
    (poisoned,) = found.values()
    assert poisoned["error"] == predicted.unreadable[0].reason and poisoned["class"] is None
    assert (result.done, result.unreadable, result.before, result.files) == (NUMBER, 1, 0, 5)
    assert result.finished and (tmp_path / "out" / "_SUCCESS").exists()
    again = batch(predictor, str(photos), tmp_path / "out", batch_size=8)
    assert (again.done, again.before, again.files) == (0, NUMBER, 5)


@pytest.mark.parametrize("end", [KeyboardInterrupt, OutputError("can't write x: No space left on device"), MemoryError])
def test_what_was_stopped_goes_on_and_does_nothing_twice(end, predictor, photos, tmp_path, monkeypatch):
    whole = batch(predictor, str(photos), tmp_path / "whole", batch_size=8)
    write, calls = parts.Parts.write, []

    def stopped(self, some):
        if len(calls) == 2:
            raise end
        calls.append(len(some))
        write(self, some)

    monkeypatch.setattr(parts.Parts, "write", stopped)
    with pytest.raises(end if isinstance(end, type) else type(end)):
        batch(predictor, str(photos), tmp_path / "out", batch_size=8)
    monkeypatch.undo()
    monkeypatch.setattr(run, "BLOCK", 8)
    monkeypatch.setattr(run, "BATCHES", 1)
    assert not (tmp_path / "out" / "_SUCCESS").exists() and len(rows(tmp_path / "out")) == sum(calls)
    left = tmp_path / "out" / ".part-000002.1234.partial.parquet"
    left.write_bytes(b"cut")  # as a kill leaves it
    result = batch(predictor, str(photos), tmp_path / "out", batch_size=8)
    assert result.before == sum(calls) and result.done == whole.done - sum(calls)
    assert rows(tmp_path / "out") == rows(tmp_path / "whole") and not left.exists()
    Image.new("RGB", (9, 9)).save(tmp_path / "new.png")  # more images than before
    more = batch(predictor, [str(photos), str(tmp_path / "new.png")], tmp_path / "out", batch_size=8)
    assert (more.done, more.before) == (1, NUMBER) and len(rows(tmp_path / "out")) == NUMBER + 1


def test_jobs_divide_the_work_by_names(predictor, photos, tmp_path):
    results = [batch(predictor, str(photos), tmp_path / "out", shard=f"{i}/3") for i in (3, 1, 2)]
    assert [one.finished for one in results] == [False, False, True]
    assert sum(one.done for one in results) == NUMBER == len(rows(tmp_path / "out"))
    assert min(one.done for one in results) > 3
    assert rows(tmp_path / "out").keys() == {str(path) for path in photos.rglob("*.png")}
    with pytest.raises(ConfigError, match="begun with jobs '3', and this is '1'"):
        batch(predictor, str(photos), tmp_path / "out")
    for wrong in ("0/3", "4/3", "a", "1/0", ""):
        with pytest.raises(ConfigError, match="from 1/4 to 4/4"):
            parse_shard(wrong)


def test_another_model_other_options_and_other_folders_are_refused(predictor, photos, tmp_path):
    batch(predictor, str(photos), tmp_path / "out", top_k=2)
    with pytest.raises(ConfigError, match="top_k '2', and this is '3'"):
        batch(predictor, str(photos), tmp_path / "out", top_k=3)
    changed = json.loads((tmp_path / "out" / "_batch.json").read_text()) | {"model": "0" * 64}
    (tmp_path / "out" / "_batch.json").write_text(json.dumps(changed))
    with pytest.raises(ConfigError, match="begun with model"):
        batch(predictor, str(photos), tmp_path / "out", top_k=2)
    with pytest.raises(OutputError, match="holds other files"):
        batch(predictor, str(photos), photos)
    shutil.copytree(tmp_path / "out", tmp_path / "other")
    (tmp_path / "other" / "_batch.json").write_text("{")
    with pytest.raises(ConfigError, match="begun with"):
        batch(predictor, str(photos), tmp_path / "other", top_k=2)


def test_a_damaged_file_of_answers_is_named(predictor, photos, tmp_path):
    batch(predictor, str(photos), tmp_path / "out")
    (tmp_path / "out" / "part-000001.parquet").write_bytes(b"PAR1")
    with pytest.raises(OutputError, match=r"part-000001\.parquet is damaged .*remove it") as caught:
        batch(predictor, str(photos), tmp_path / "out")
    assert "\n" not in str(caught.value)
    (tmp_path / "out" / "part-000001.parquet").unlink()
    assert batch(predictor, str(photos), tmp_path / "out").finished and len(rows(tmp_path / "out")) == NUMBER


def test_shards_tables_and_urls_are_inputs(predictor, photos, tmp_path, http_folder):
    (photos / "0" / "10.png").rename(tmp_path / "poisoned")
    try:
        expected = by_stem(predictor, str(photos), tmp_path / "a")
        moganet.make_shards(str(photos), tmp_path / "shards", 10**5)
        assert by_stem(predictor, f"shards:{tmp_path / 'shards'}", tmp_path / "b") == expected
        members, _ = list_inputs(f"shards:{tmp_path / 'shards'}")
        few = by_themselves(members[5:8])  # what another process is told
        assert [(str(one), one.load()) for one in few] == [(str(one), one.load()) for one in members[5:8]]
        assert len(few[0].asked.spans) == 3
        files = sorted(photos.rglob("*.png"))
        table = {"image": [{"bytes": one.read_bytes(), "path": one.name} for one in files]}
        import pyarrow

        parquet.write_table(pyarrow.table(table), tmp_path / "images.parquet")
        assert by_stem(predictor, str(tmp_path / "images.parquet"), tmp_path / "c") == expected
        assert f"images.parquet/1/{files[1].name}" in rows(tmp_path / "c") and len(expected) == NUMBER - 1
        address = http_folder(photos)
        lines = [f"{address}/{one.relative_to(photos)}" for one in files[:3]] + [f"{address}/none.png"]
        (tmp_path / "urls.txt").write_text("\n".join(lines))
        fetched = batch(predictor, str(tmp_path / "urls.txt"), tmp_path / "d", batch_size=1)
        found = rows(tmp_path / "d")
        assert fetched.unreadable == 1 and "there is no" in found[lines[3]]["error"]
        assert [found[line]["classes"] for line in lines[:3]] == [expected[one.stem] for one in files[:3]]
    finally:
        (tmp_path / "poisoned").rename(photos / "0" / "10.png")


def by_stem(predictor, named, out):
    """Give the classes of each image by its own name, which is the last part of any other."""
    batch(predictor, named, out, batch_size=1)
    return {name.rpartition("/")[2].rpartition("-")[2][:2]: row["classes"] for name, row in rows(out).items()}


def test_the_command_says_what_it_did(photos, tmp_path, capsys):
    line = ["batch", str(model()), str(photos), str(photos / "gone.png"), "--out", str(tmp_path / "out"), "--json"]
    with pytest.raises(SystemExit) as end:
        moganet_cli.main([*line, "--model-batch", "8"])
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert end.value.code == 3 and result["done"] == NUMBER + 1 and result["unreadable"] == 2
    assert "gone.png" in said.err and "10.png" in said.err
    assert rows(tmp_path / "out")[str(photos / "gone.png")]["error"] == "there is no such file"
    with pytest.raises(SystemExit) as end:
        moganet_cli.main(["batch", str(model()), "digits:", "--out", str(tmp_path / "digits")])
    said = capsys.readouterr()
    assert end.value.code == 2 and "moganet shards make" in said.err and len(said.err.splitlines()) == 1
    with pytest.raises(DataError, match=r"nothing to predict: .*gone: there is no such file"):
        batch(str(model()), str(photos / "gone"), tmp_path / "x")
    assert not (tmp_path / "x").exists()
    with pytest.raises(DataError, match="top-k"):
        batch(str(model()), str(photos), tmp_path / "x", top_k=0)
