"""Shards: made of any source and read as it, in any order, here and over a network."""

import functools
import gc
import http.server
import itertools
import json
import re
import threading

import numpy as np
import pytest
import torch
from box_sets import make_coco
from PIL import Image
from stick_figures import make_people
from test_sources import make_folder, make_masks, make_table

from moganet import make_shards, open_data
from moganet.config import AugmentConfig, DataConfig, Preprocessing
from moganet.data import ArraySplit, Dataset, shards_make, stores
from moganet.data.module import ImageDataModule
from moganet.data.order import ALONE, Division, StepParts
from moganet.errors import ConfigError, DataError, MissingExtraError, MogaNetError, OutputError, UnreachableError
from moganet.notices import listening

SIZE = 100_000  # bytes of the tests' shards
ARRAYS = torch.tensor([0, 1, 1, 0])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of noise, in files of 8 kB, and its shards."""
    root, generator = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for split, number in (("train", 22), ("val", 5)):
        for label in ("blue", "red"):
            (root / "own" / split / label).mkdir(parents=True)
            for i in range(number):
                pixels = generator.integers(0, 256, (50, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / "own" / split / label / f"photo.{i}.png")
    result = make_shards(str(root / "own"), root / "shards", SIZE)
    assert result.shards >= 5 and result.images == {"train": 44, "val": 10}
    return root


def bare(lists):
    """Leave boxes alone."""
    for one in lists["annotations"]:
        del one["segmentation"]


def outlined(lists):
    """Give all boxes outlines, one of them in runs."""
    for one in lists["annotations"]:
        left, top, width, height = one["bbox"]
        one["segmentation"] = [[left, top, left + width, top, left + width / 2, top + height]]
    size = [lists["images"][0]["height"], lists["images"][0]["width"]]
    first = lists["annotations"][0]
    first["segmentation"] = {"size": size, "counts": [5, 3, size[0] * size[1] - 8]}


def same(first, second):
    """Compare two data sets image by image."""
    assert first.class_names == second.class_names and list(first.splits) == list(second.splits)
    for one, other in ((first.split(name), second.split(name)) for name in first.splits):
        assert len(one) == len(other) and one.groups == other.groups
        for i in range(len(one)):
            assert torch.equal(one[i].image, other[i].image)
            pair = [x[i].target if isinstance(x[i].target, dict) else {"": x[i].target} for x in (one, other)]
            assert pair[0].keys() == pair[1].keys()
            assert all(torch.equal(*(torch.as_tensor(x[key]) for x in pair)) for key in pair[0])


@pytest.mark.parametrize("kind", ["folder", "groups", "labels", "masks", "arrays", "boxes", "outlines", "keypoints"])
def test_what_was_written_is_read_again(kind, tmp_path):
    source = Dataset("arrays", ("a", "b"), {"train": ArraySplit(torch.arange(4 * 75).view(4, 3, 5, 5).byte(), ARRAYS)})
    if kind in ("folder", "groups"):
        source = str(make_folder(tmp_path / "own"))
    if kind == "groups":
        table = make_table(tmp_path / "own", extra=lambda path: {"who": path.stem})
        source = f"table:{table}?group=who"
    if kind == "labels":
        table = make_table(
            make_folder(tmp_path / "own"), extra=lambda path: {"tags": "a|b" if "0" in path.stem else ""}
        )
        source = f"table:{table}?labels=tags"
    if kind == "masks":
        source = f"masks:{make_masks(tmp_path / 'own')}"
    if kind in ("boxes", "outlines"):
        source = f"coco:{make_coco(tmp_path / 'own', change=outlined if kind == 'outlines' else bare)}"
    if kind == "keypoints":
        source = f"keypoints:{make_people(tmp_path / 'own', images=3)}"
    own, result = open_data(source), make_shards(source, tmp_path / "shards", SIZE)
    read = open_data(f"shards:{tmp_path / 'shards'}")
    same(own.with_white_level(None), read)
    assert np.array_equal(read.split("train").targets.strata(), own.split("train").targets.strata())
    if kind not in ("masks", "arrays"):  # masks become values of classes, and pixels a file
        assert read.fingerprint() == own.fingerprint()
    if kind == "masks":
        assert np.array_equal(read.split("train").targets.areas(), own.split("train").targets.areas())
        held = read.with_validation(0.5, 0)
        assert held.split("train").targets.identity() != held.split("val").targets.identity()
    assert make_shards(source, tmp_path / "shards", SIZE).before == result.shards  # nothing is done twice


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves files open
def test_webdataset_reads_them(photos):
    webdataset = pytest.importorskip("webdataset")
    names = sorted(map(str, (photos / "shards").glob("train-*.tar")))
    found = list(webdataset.WebDataset(names, shardshuffle=False).decode("pil").to_tuple("png", "cls"))
    assert len(found) == 44 and sorted(label for _, label in found) == [0] * 22 + [1] * 22
    gc.collect()
    assert all(image.size == (50, 50) for image, _ in found)
    assert [label for _, label in found] != sorted(label for _, label in found)  # shuffled, for those who read in turn


def batches(photos, order, *, start=(0, 0), workers=0, division=ALONE):
    module = ImageDataModule(
        open_data(f"shards:{photos / 'shards'}?order={order}"),
        DataConfig(source="digits", batch_size=5, workers=workers),
        Preprocessing(size=(32, 32)),
        AugmentConfig(crop="resized", hflip=0.5),
        3,
        processes=division.processes,
    )
    module.position = start
    if division.processes > 1:
        split = module.dataset.split("train")
        parts = StepParts(module._order(split), 5 * division.parts, division, drop_last=True, start=start)
        return [list(part) for part in parts]
    loader = module.train_dataloader()
    found = [(batch.places, batch.images.sum().item(), batch.seed) for batch in loader]
    loader.end()
    return found


def test_shards_in_turn_have_an_order_of_seed_and_epoch_alone(photos):
    whole = batches(photos, "shards&buffer=4")
    assert whole == batches(photos, "shards&buffer=4", workers=2)
    assert batches(photos, "shards&buffer=4", start=(0, 3), workers=2) == whole[3:]
    shared = [batches(photos, "shards&buffer=4", division=Division(1, 2, rank)) for rank in range(2)]
    assert [tuple(draw.image for draw in part) for two in zip(*shared, strict=True) for part in two] == [
        places for places, *_ in whole
    ]
    assert whole != batches(photos, "shards&buffer=4", start=(1, 0)) != batches(photos, "shuffle", start=(1, 0))
    files = open_data(f"shards:{photos / 'shards'}").split("train").files
    holders = [str(files[place]).rpartition("/")[0] for places, *_ in whole for place in places]
    turns = sum(a != b for a, b in itertools.pairwise(holders))
    assert turns <= 4 * len(set(holders)) < len(holders)  # shard after shard, but for the buffer


def test_what_was_stopped_goes_on(photos, tmp_path, monkeypatch):
    write, written = shards_make._write_shard, []

    def stopped(*arguments):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(write(*arguments))
        return written[-1]

    monkeypatch.setattr(shards_make, "_write_shard", stopped)
    with pytest.raises(KeyboardInterrupt):
        make_shards(str(photos / "own"), tmp_path, SIZE)
    monkeypatch.undo()
    with pytest.raises(OutputError, match="of another size"):
        make_shards(str(photos / "own"), tmp_path, 2 * SIZE)
    assert make_shards(str(photos / "own"), tmp_path, SIZE).before == 3
    for path in (photos / "shards").iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
    assert not (tmp_path / ".parts").exists()


def test_what_was_begun_is_no_set_yet(photos, tmp_path):
    (tmp_path / ".parts").mkdir()
    (tmp_path / "train-000000.tar").write_bytes((photos / "shards" / "train-000000.tar").read_bytes())
    with pytest.raises(DataError, match=r"moganet shards make .* again"):
        open_data(f"shards:{tmp_path}")


def test_what_cannot_be_read_is_named_and_the_rest_written(tmp_path, capsys):
    import moganet_cli

    root = make_folder(tmp_path / "own")
    (root / "train" / "red" / "gone.png").symlink_to(root / "nowhere.png")
    with pytest.raises(SystemExit) as end:
        moganet_cli.main(["shards", "make", str(root), str(tmp_path / "shards"), "--json"])
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert end.value.code == 3 and result["images"]["train"] == 6 and "gone.png" in result["unreadable"][0]["file"]
    assert "gone.png" in said.err and len(open_data(f"shards:{tmp_path / 'shards'}").split("train")) == 6


def test_a_folder_with_something_else_and_odd_sizes_are_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"letter\.txt"):
        make_shards("digits", tmp_path)
    for size in ("", "5", "1e9", "MB", "3XB", "-5MB", "900TB"):
        with pytest.raises(ConfigError, match="size"):
            make_shards("digits", tmp_path / "new", size)
    with pytest.raises(OutputError, match="address"):
        make_shards("digits", "s3://bucket/digits")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.fixture
def copied(photos, tmp_path):
    for path in (photos / "shards").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def of_first(root, change):
    changed(root / "index.json", lambda said: change(said["splits"]["train"][0]))


def changed(path, change):
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda root: (root / "train-000001.tar").write_bytes(b"x" * 5000), "has 5,000 bytes and not"),
        (lambda root: (root / "train-000001.tar").unlink(), "lacks train-000001.tar of its"),
        (lambda root: (root / "index.json").write_text("{"), "no JSON"),
        (lambda root: (root / "index.json").write_text("[1]"), "no index of shards"),
        (lambda root: (root / "index.json").write_bytes((root / "index.json").read_bytes()[:-50]), "damaged"),
        (lambda root: changed(root / "index.json", lambda one: one.update(version=7)), "version 7"),
        (lambda root: changed(root / "index.json", lambda one: one.update(kind="boxen")), "boxen"),
        (lambda root: of_first(root, lambda one: one.update(name="../a.tar")), "elsewhere"),
        (lambda root: of_first(root, lambda one: one["targets"].__setitem__(0, 2)), "class 2"),
        (lambda root: of_first(root, lambda one: one["targets"].__setitem__(0, "a")), "targets"),
        (lambda root: of_first(root, lambda one: one["sizes"].__setitem__(0, 10**7)), "behind its end"),
        (lambda root: of_first(root, lambda one: one["places"].__setitem__(0, 1)), "one place"),
        (lambda root: of_first(root, lambda one: one["hashes"].pop()), "differ in length"),
    ],
)  # fmt: skip
def test_damage_is_one_line_when_a_set_is_opened(damage, said, copied):
    damage(copied)
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        open_data(f"shards:{copied}")
    assert "\n" not in str(caught.value)


def test_a_shard_of_another_content_gives_no_image(copied, capsys):
    first, second = copied / "val-000000.tar", copied / "train-000000.tar"
    content = bytearray(first.read_bytes())
    content[5000] ^= 1
    first.write_bytes(content)
    shards = json.loads((copied / "index.json").read_text())["splits"]["train"]
    second.write_bytes(second.read_bytes()[: shards[0]["offsets"][3]].ljust(shards[0]["bytes"], b"\0"))
    dataset = open_data(f"shards:{copied}")
    wrong = []
    for name in ("train", "val"):
        for i in range(len(dataset.split(name))):
            try:
                dataset.split(name)[i]
            except DataError as error:
                assert "not what the index says" in str(error) and "\n" not in str(error)
                wrong.append(name)
    assert wrong.count("val") == 1 and wrong.count("train") == len(shards[0]["names"]) - 3


class _Ranges(http.server.SimpleHTTPRequestHandler):
    """Serves parts of files, as servers of data do. fails: how many of the next requests it refuses."""

    fails = 0

    def log_message(self, *_):
        pass

    def do_GET(self):
        if type(self).fails:
            type(self).fails -= 1
            self.send_error(503)
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        try:
            with open(self.translate_path(self.path), "rb") as file:
                content = file.read()
        except OSError:
            self.send_error(404)
            return
        part = content[int(asked[1]) : int(asked[2]) + 1] if asked else content
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)


@pytest.fixture
def ranges(photos):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Ranges, directory=str(photos)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_shards_are_read_over_a_network_a_part_at_a_time(photos, ranges, monkeypatch):
    monkeypatch.setattr(stores, "PAUSE", 0.0)
    here = open_data(f"shards:{photos / 'shards'}")
    there = open_data(f"shards:{ranges}/shards")
    same(here, there)
    assert there.fingerprint() == here.fingerprint() and open_data(there.spec).spec == there.spec
    _Ranges.fails = 2  # for a while
    assert torch.equal(there.split("train")[3].image, here.split("train")[3].image)
    module = ImageDataModule(
        there, DataConfig(source="digits", batch_size=5, workers=2), Preprocessing(size=(32, 32)), AugmentConfig(), 3
    )
    loader = module.train_dataloader()  # by processes that are forked while this one is connected
    assert sum(len(batch.images) for batch in loader) == 40
    loader.end()
    with pytest.raises(DataError, match=r"there is no .*/own/index\.json.*moganet shards index"):
        open_data(f"shards:{ranges}/own")


def test_a_network_that_fails_ends_what_asked(photos, ranges, monkeypatch):
    monkeypatch.setattr(stores, "PAUSE", 0.0)
    there = open_data(f"shards:{ranges}/shards")
    _Ranges.fails = 10**6
    try:
        with pytest.raises(UnreachableError, match="look at the network") as caught:
            there.split("train")[0]
        assert "\n" not in str(caught.value)
    finally:
        _Ranges.fails = 0
    with pytest.raises(MogaNetError, match="can't fetch"):
        open_data("shards:http://127.0.0.1:9/shards")


def test_a_server_without_parts_is_refused_before_it_sends_whole_shards(photos, http_folder):
    with pytest.raises(DataError, match=r"range requests.*simplecache"):
        open_data(f"shards:{http_folder(photos)}/shards")


def test_other_addresses_are_those_of_fsspec(photos, monkeypatch):
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in (photos / "shards").iterdir():
        memory.pipe_file(f"/set/{path.name}", path.read_bytes())
    same(open_data("shards:memory://set"), open_data(f"shards:file://{photos / 'shards'}"))
    memory.rm("/set/val-000000.tar")
    with pytest.raises(DataError, match="lacks val-000000"):
        open_data("shards:memory://set")
    with pytest.raises(DataError, match="can't be opened"):
        open_data("shards:nothing://set")
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(MissingExtraError, match="pip install s3fs"):
        open_data("shards:s3://bucket/set")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("shards", "needs a place"),
        ("shards:/no/such", "there is no folder"),
        ("shards:{}?order=random", "choose one of shuffle, shards"),
        ("shards:{}?order=shards&buffer=0", "a number of images"),
        ("shards:{}?buffer=5", "order=shards"),
        ("shards:{}?ordr=shards", "did you mean 'order'"),
        ("shards:{}?shuffle", "say order="),
        ("shards:{}?label=cls", "without an index"),
        ("shards:{}/test-*.tar", "none is called"),
    ],
)
def test_a_wrong_specification_says_what_is_right(spec, said, photos):
    with pytest.raises(DataError, match=said):
        open_data(spec.format(photos / "shards"))


def test_some_of_the_shards_are_named_as_webdataset_does(photos):
    with listening() as said:
        some = open_data(f"shards:{photos / 'shards'}/train-{{000000..000001}}.tar")
    shards = json.loads((photos / "shards" / "index.json").read_text())["splits"]["train"]
    assert len(some.split("train")) == sum(len(one["names"]) for one in shards[:2])
    assert "took 2 of the" in said[0]
    alone = open_data(f"shards:{photos / 'shards'}/val-*.tar")
    assert list(alone.splits) == ["train"] and len(alone.split("train")) == 10
