"""embed, similar and probe: what a person gets of a network's features, and what is refused."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from small_model import exported, model, pictures, write_model

import moganet
import moganet_cli
from moganet.data.read import read_pixels
from moganet.embeddings.files import read_features
from moganet.embeddings.rows import joined
from moganet.errors import ConfigError, DataError, OutputError, WeightsError
from moganet.inference.stream import Stream


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for number, picture in enumerate(pictures()):
        Image.fromarray(picture).save(tmp_path / "photos" / f"{number:02}.png")
    return tmp_path / "photos"


def held(file):
    return joined([*read_features(file)])


def run(capfdbinary, *arguments):
    with pytest.raises(SystemExit) as end:
        moganet_cli.main([str(argument) for argument in arguments])
    captured = capfdbinary.readouterr()
    return end.value.code, captured.out.decode(), captured.err.decode()


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_file_holds_what_the_network_gives(suffix, photos, tmp_path, capfdbinary):
    (photos / "bad.png").write_text("no image")
    out = tmp_path / f"f{suffix}"
    code, printed, said = run(capfdbinary, "embed", model(), photos, "/no/such.png", "--out", out, "--json")
    result = json.loads(printed)
    assert code == 3 and "bad.png" in said and "/no/such.png" in said and len(result["unreadable"]) == 2
    found, predictor = held(out), moganet.load(model())
    assert list(found.files) == sorted(str(path) for path in photos.glob("[0-9]*.png"))
    assert np.allclose(found.features, predictor.features(found.files), atol=1e-5)
    assert (result["num_images"], result["dim"], result["added"]) == (12, 32, 12)
    assert result["sha256"] == predictor.config.sha256 and {path.name for path in tmp_path.iterdir()} == {
        "photos",
        out.name,
    }


def test_a_killed_call_goes_on_without_loss_or_doubles(photos, tmp_path, monkeypatch):
    whole = moganet.embed(model(), photos, out=tmp_path / "whole.npz", batch_size=3)
    original, seen = Stream.__iter__, []

    def counted(self, last):
        for number, one in enumerate(original(self)):
            if number == last:
                raise KeyboardInterrupt
            seen.append(len(one.places))
            yield one

    out = tmp_path / "f.npz"
    for last in (0, 2, 1):
        with (
            monkeypatch.context() as patch,
            pytest.raises(KeyboardInterrupt, match="kept" if sum(seen) or last else "before"),
        ):
            patch.setattr(Stream, "__iter__", lambda self, last=last: counted(self, last))
            moganet.embed(model(), photos, out=out, batch_size=3)
        assert not out.exists()
    last = moganet.embed(model(), photos, out=out, batch_size=3)
    assert sum(seen) == 9 and last.added == 3 and last.num_images == whole.num_images == 12
    one, other = held(tmp_path / "whole.npz"), held(out)
    assert one.files == other.files and np.allclose(one.features, other.features, atol=1e-6)
    assert not (tmp_path / "f.npz.partial").exists()


def test_new_and_changed_images_are_made_and_others_left(photos, tmp_path):
    out = tmp_path / "f.parquet"
    pytest.importorskip("pyarrow")
    moganet.embed(model(), photos, out=out)
    before, written = held(out), out.stat().st_mtime_ns
    again = moganet.embed(model(), photos, out=out)
    assert again.added == again.changed_images == 0 and out.stat().st_mtime_ns == written and again.num_images == 12
    Image.fromarray(255 - pictures()[0]).save(photos / "03.png")
    Image.fromarray(255 - pictures()[1]).save(photos / "new.png")
    (photos / "05.png").unlink()
    result = moganet.embed(model(), photos, out=out)
    assert (result.added, result.changed_images, result.num_images) == (1, 1, 13) and "stays" in " ".join(result.notes)
    after = held(out)
    assert len(set(after.files)) == 13
    for name, feature in zip(before.files, before.features, strict=True):
        kept = np.array_equal(after.features[after.files.index(name)], feature)
        assert kept == (not name.endswith("03.png"))
    assert moganet.embed(model(), photos, out=out, overwrite=True).num_images == 12


def test_files_of_others_are_refused_and_stay(photos, tmp_path):
    out = tmp_path / "f.npz"
    moganet.embed(model(), photos, out=out)
    content = out.read_bytes()
    other = write_model(tmp_path / "other.safetensors", seed="x")
    for change, said in (
        ({"model": other}, "another model"),
        ({"precision": "bf16", "runtime": "eager"}, "f32, not bf16"),
        ({"in_chans": 1}, "in_chans None, not 1"),
        ({"fast_decoding": True}, "without fast decoding"),
        ({"files": (), "data": f"folder:{photos.parent}"}, "images of files"),
    ):
        with pytest.raises(ConfigError, match=said):
            moganet.embed(**({"model": model(), "files": photos, "out": out} | change))
    with pytest.raises(ConfigError, match="another model"):
        moganet.similar(other, photos / "01.png", out)
    assert out.read_bytes() == content and not (tmp_path / "f.npz.partial").exists()
    np.savez(out, x=np.zeros(3))
    with pytest.raises(OutputError, match="no features"):
        moganet.embed(model(), photos, out=out)
    for name in ("f.csv", "."):
        with pytest.raises(OutputError, match=r"\.parquet"):
            moganet.embed(model(), photos, out=tmp_path / name)
    with pytest.raises(DataError, match="no image"):
        moganet.embed(model(), [], out=tmp_path / "g.npz")


def test_models_of_all_kinds_give_features_or_say_why_not(photos, tmp_path):
    out = tmp_path / "f.npz"
    moganet.embed(model(), photos, out=out)
    made = moganet.embed(exported("openvino"), photos, out=out)  # the same function of the same tensors
    assert made.added == 0
    with pytest.warns(UserWarning, match="untrained"):
        made = moganet.embed("moganet_nano", photos / "01.png", out=tmp_path / "u.npz")
    assert made.untrained and made.sha256
    network = moganet.load(model())
    network._module, network.run = (
        None,
        type("Run", (), {"runtime": "x", "precision": "f32", "__call__": lambda *_: {"logits": np.zeros((1, 6))}})(),
    )
    with pytest.raises(ConfigError, match="gives no features"):
        moganet.embed(network, photos / "01.png", out=tmp_path / "n.npz")
    assert not list(tmp_path.glob("n.npz*"))


def test_similar_images_are_found_in_a_file_as_among_images(photos, tmp_path, capfdbinary):
    shutil.copy(photos / "02.png", photos / "copy.png")
    Image.fromarray(pictures()[2]).resize((80, 72)).save(photos / "near.png")
    moganet.embed(model(), photos, out=tmp_path / "f.npz")
    query = photos / "02.png"
    direct = moganet.similar(model(), query, photos, top_k=4)
    code, printed, _ = run(
        *(capfdbinary, "similar", model(), query, "--among", tmp_path / "f.npz", "--top-k", 4),
        *("--out", tmp_path / "sheet.png", "--json"),
    )
    found = json.loads(printed)
    assert code == 0 and found["num_images"] == 14 and read_pixels(tmp_path / "sheet.png").shape[2] > 300
    (asked,), (same,) = found["queries"], direct.queries
    assert (
        asked["itself"] and same.itself and [one["file"] for one in asked["found"]] == [one.file for one in same.found]
    )
    names = {one["file"].rpartition("/")[2]: one.get("copy_of_it") for one in asked["found"]}
    assert names.pop("copy.png") == "copy" and names.pop("near.png") == "near copy" and set(names.values()) == {None}
    features = moganet.load(model()).features([query, asked["found"][3]["file"]])
    cosine = features[0] @ features[1] / np.linalg.norm(features, axis=1).prod()
    assert asked["found"][3]["similarity"] == pytest.approx(cosine, abs=1e-4)


def test_pictures_that_are_gone_or_others_are_named(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    moganet.embed(model(), "photos", out="photos/f.npz")
    shutil.move(photos / "02.png", tmp_path / "asked.png")
    Image.fromarray(255 - pictures()[4]).save(photos / "04.png")
    result = moganet.similar(model(), "asked.png", "photos/f.npz", top_k=12, out="s.png")
    missing = {one.file: one.picture_missing for one in result.queries[0].found if one.get("picture_missing")}
    assert missing.keys() == {"photos/02.png", "photos/04.png"} and "another picture" in missing["photos/04.png"]
    assert "2 pictures" in " ".join(result.notes) and "photos/02.png" in " ".join(result.notes)
    assert result.queries[0].found[0].copy_of_it == "copy" and not result.queries[0].itself


def test_a_sets_images_are_shown_by_their_places(tmp_path):
    made = moganet.embed("moganet_nano.digits", data="digits", split="test", out=tmp_path / "d.npz", runtime="eager")
    assert made.num_images == 360
    image = moganet.open_data("digits").split("test")[5].image[0].numpy()
    Image.fromarray(image).save(tmp_path / "x.png")
    found = moganet.similar(
        "moganet_nano.digits", tmp_path / "x.png", tmp_path / "d.npz", top_k=2, out=tmp_path / "s.png", runtime="eager"
    )
    best = found.queries[0].found[0]
    assert (
        best.file == "digits/test/5"
        and best.similarity == pytest.approx(1, abs=1e-4)
        and best.copy_of_it == "near copy"
    )
    assert best.label == moganet.open_data("digits").class_names[moganet.open_data("digits").split("test")[5].label]


def painted(folder, number, *, by_chance=False, several=False):
    """Paint images of two or more colours, labelled by these or by chance, in a table."""
    random, rows = np.random.RandomState(0), []
    folder.mkdir()
    for i in range(number):
        kind = i % 3
        picture = random.randint(0, 60, (32, 32, 3), np.uint8)
        picture[..., kind] += 140
        if several and i % 2:
            picture[:16, :, (kind + 1) % 3] += 140
        Image.fromarray(picture).save(folder / f"{i}.png")
        labels = [f"k{kind}", f"k{(kind + 1) % 3}"] if several and i % 2 else [f"k{kind}"]
        rows.append((f"{i}.png", f"k{random.randint(3)}" if by_chance else "|".join(labels)))
    with open(folder / "t.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    return f"table:{folder / 't.csv'}" + ("?labels=label" if several else "")


def test_a_probe_tells_what_can_be_learned_from_what_can_not(tmp_path, capfdbinary):
    data = painted(tmp_path / "a", 120)
    result = moganet.probe(model(), data)
    found = result.probed
    assert result.learnable and found.linear.value > 0.9 and found.nearest.value > 0.9
    assert found.chance == pytest.approx(1 / 3) and found.majority == pytest.approx(1 / 3, abs=0.1)
    low, high = found.linear.interval
    assert (
        low < found.linear.value <= high + 1e-9
        and sum(one.images for one in found.per_class) == result.num_images == 24
    )
    divided = moganet.open_data(data).with_validation(None, 0)
    assert (result.num_train, result.num_images) == (len(divided.split("train")), len(divided.split("val")))
    assert any("wide" in text for text in result.cannot_tell)
    chance = moganet.probe(model(), painted(tmp_path / "b", 240, by_chance=True))
    assert not chance.learnable and chance.probed.linear.value < 0.6
    code, printed, _ = run(capfdbinary, "probe", model(), "--data", data, "--limit", 60)
    assert code == 0 and "learnable" in printed and "by chance: 33.33 %" in printed and "it can't tell" in printed
    for options, said in (({"split": "train"}, "val or test"), ({"split": "nowhere"}, "no split")):
        with pytest.raises(DataError, match=said):
            moganet.probe(model(), data, **options)


def test_a_probe_of_any_number_of_labels_measures_precision(tmp_path):
    result = moganet.probe(model(), painted(tmp_path / "a", 120, several=True))
    found = result.probed
    assert result.task == "multilabel" and result.learnable and found.linear.value > 0.9
    low, high = found.linear.interval
    few = moganet.probe(model(), painted(tmp_path / "b", 8, several=True))
    assert few.probed.linear.value > 0.8 and not few.learnable  # by luck as well
    assert low <= found.linear.value <= high and found.chance == found.majority == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("verb", ["embed", "similar", "probe"])
def test_no_model_is_no_bug(verb, tmp_path, photos, capfdbinary):
    rest = {
        "embed": (photos, "--out", tmp_path / "f.npz"),
        "similar": (photos, "--among", photos),
        "probe": ("--data", photos),
    }
    code, printed, said = run(capfdbinary, verb, "/no/such", *rest[verb])
    assert code == 2 and not printed and "there is no model" in said and len(said.splitlines()) == 1
    with pytest.raises(WeightsError):
        moganet.load("/no/such")


def test_what_has_no_splits_or_features_is_no_empty_answer(photos, tmp_path, capfdbinary):
    np.savez(tmp_path / "other.npz", a=np.eye(2))
    for file, said in (("none.npz", "is not there"), ("none.parquet", "is not there"), ("other.npz", "no features")):
        code, printed, told = run(capfdbinary, "similar", model(), photos / "00.png", "--among", tmp_path / file)
        assert code == 2 and not printed and said in told and len(told.splitlines()) == 1
    for verb in (("embed", photos, "--out", tmp_path / "f.npz"), ("similar", photos / "00.png", "--among", photos)):
        code, printed, told = run(capfdbinary, verb[0], model(), *verb[1:], "--split", "test")
        assert code == 2 and not printed and "--data folder:PATH" in told
    assert not (tmp_path / "f.npz").exists()


def test_a_share_held_back_is_one_and_says_what_it_replaces(tmp_path, capfdbinary):
    for name, kind in ((name, kind) for name in ("train", "val") for kind in range(2)):
        (tmp_path / name / f"k{kind}").mkdir(parents=True)
        for i in range(8):
            picture = np.random.RandomState(i + 10 * kind + 100 * len(name)).randint(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(picture).save(tmp_path / name / f"k{kind}" / f"{i}.png")
    code, printed, _ = run(capfdbinary, "probe", model(), "--data", tmp_path, "--validation", 0.25, "--json")
    result = json.loads(printed)
    assert code == 0 and result["num_images"] == 4
    assert any("val of its own: its 16 images are left out" in note for note in result["notes"])
    for share in (0, 1):
        with pytest.raises(DataError, match="between 0 and 1"):
            moganet.probe(model(), tmp_path, validation=share)
