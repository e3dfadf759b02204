"""Shards that webdataset, img2dataset or tar made: indexed once, or refused with what to do."""

import io
import json
import tarfile

import pytest
from PIL import Image
from test_shards import same

from moganet import index_shards, open_data
from moganet.errors import DataError, OutputError
from moganet.notices import listening


def image(colour=0):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (colour, 0, 0)).save(file, "JPEG")
    return file.getvalue()


def tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


def samples(**others):
    """Give members of ten samples, each with what a function of its number gives for an ending."""
    made = [
        (i, {"jpg": image(i), **{key.replace("_", "."): give(i) for key, give in others.items()}}) for i in range(10)
    ]
    return [(f"{i:05d}.{ending}", content) for i, members in made for ending, content in members.items()]


def said_by(give):
    """Give a sample's .json."""
    return lambda i: json.dumps(give(i)).encode()


FOREIGN = {
    "cls": (samples(cls=lambda i: b"%d" % (i % 3)), "", ("0", "1", "2"), "took .cls"),
    "names": (samples(cls=lambda i: b"cat" if i % 2 else b"dog"), "", ("cat", "dog"), "took .cls"),
    "json": (samples(json=said_by(lambda i: {"label": i % 2, "url": ""})), "", ("0", "1"), "'label' of .json"),
    "field": (samples(json=said_by(lambda i: {"kind": "ab"[i % 2]})), "?label=json.kind", ("a", "b"), None),
    "sets": (samples(json=said_by(lambda i: {"labels": ["x"] if i else []})), "", ("x",), "'labels' of .json"),
    "txt": (samples(txt=lambda i: b"cat\n" if i % 2 else b"dog"), "", ("cat", "dog"), "took .txt"),
    "several": (samples(cls=lambda i: b"1", seg_png=lambda i: image()), "?image=jpg", ("1",), "took .cls"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_shards_of_others_are_indexed_once(name, tmp_path, monkeypatch):
    members, query, class_names, said = FOREIGN[name]
    tar(tmp_path / "00000.tar", members[: len(members) // 2])
    tar(tmp_path / "00001.tar", members[len(members) // 2 :])
    monkeypatch.setenv("MOGANET_CACHE", str(tmp_path / "cache"))
    with listening() as heard:
        first = open_data(f"shards:{tmp_path}{query}")
    assert first.class_names == class_names and len(first.split("train")) == 10
    assert any("made once" in line for line in heard) and (said is None or any(said in line for line in heard))
    assert first.split("train")[9].image[0].float().mean() == pytest.approx(9, abs=3)
    monkeypatch.setattr("moganet.data.shards_foreign.make_index", None)  # it is kept
    with listening() as heard:
        assert open_data(first.spec).fingerprint() == first.fingerprint()
    assert said is None or any(said in line for line in heard)
    monkeypatch.undo()
    asked = dict(part.split("=") for part in query[1:].split("&") if part)
    assert index_shards(tmp_path, **asked).images == {"train": 10}
    same(open_data(f"shards:{tmp_path}"), first)


def test_classes_of_numbers_are_named_by_a_file_beside_them_and_splits_by_their_folders(tmp_path):
    for split in ("train", "test"):
        tar(tmp_path / split / "0.tar", samples(cls=lambda i: b"%d" % (i % 2)))
    (tmp_path / "classnames.txt").write_text("ant\nbee\ncow\n")
    with listening() as said:
        dataset = open_data(f"shards:{tmp_path}")
    assert dataset.class_names == ("ant", "bee", "cow") and list(dataset.splits) == ["train", "test"]
    assert any("classnames.txt" in line for line in said)
    (tmp_path / "classnames.txt").write_text("ant\n")
    with pytest.raises(DataError, match="names 1 classes"):
        open_data(f"shards:{tmp_path}")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (samples(txt=lambda i: b"caption %d" % i), "as captions are.*label=cls"),
        (samples(), "nothing in .* tells the class"),
        (samples(json=lambda i: b'{"caption": "a", "url": "b"}'), "json has caption, url"),
        (samples(json=lambda i: b'{"label": 1, "class": 2}'), "may all be the class"),
        (samples(json=lambda i: b"{"), "json of"),
        (samples(cls=lambda i: b"\xff\xfe"), "no text"),
        (samples(cls=lambda i: b"1")[:-1], "1 images .* have no .cls"),
        (samples(cls=lambda i: b"1", png=lambda i: image()), r"several images.*\?image=jpg"),
        ([("a.txt", b"x")], "no images"),
        ([*samples(cls=lambda i: b"1"), ("00009.cls", b"2")], "two members"),
    ],
)
def test_shards_that_tell_no_class_say_what_to_do(members, said, tmp_path):
    tar(tmp_path / "0.tar", members)
    with pytest.raises(DataError, match=said) as caught:
        open_data(f"shards:{tmp_path}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cut", [1, 600, 5000, 10240])
def test_a_tar_that_is_cut_off_never_gives_fewer_images(cut, tmp_path):
    tar(tmp_path / "0.tar", samples(cls=lambda i: b"1"))
    content = (tmp_path / "0.tar").read_bytes()
    used = len(content.rstrip(b"\0"))
    (tmp_path / "0.tar").write_bytes(content[: used - cut + 1])
    with pytest.raises(DataError, match=r"cut off|no \.cls"):
        open_data(f"shards:{tmp_path}")


def test_a_compressed_shard_is_refused_and_samples_without_an_image_are_counted(tmp_path):
    tar(tmp_path / "a" / "0.tar", [*samples(cls=lambda i: b"1"), ("x.cls", b"1"), ("README", b"")])
    with listening() as said:
        assert len(open_data(f"shards:{tmp_path / 'a'}").split("train")) == 10
    assert sum("passed over: 1" in line for line in said) == 2
    (tmp_path / "a" / "1.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match="compressed"):
        open_data(f"shards:{tmp_path / 'a'}")
    with pytest.raises(OutputError, match="there already"):
        (tmp_path / "a" / "index.json").write_text("{}")
        index_shards(tmp_path / "a")
