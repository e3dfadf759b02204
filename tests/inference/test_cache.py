"""What is read back from disk is what was written: the cache of runtimes, and exported files; else it is said."""

import errno
import hashlib
import json
import os
import random
import resource
import shutil
import stat
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GOLDEN
from small_model import exported, model, need, pictures

import moganet
import moganet.inference.load as loading
from moganet.engine.export import export
from moganet.errors import MogaNetError, OutputError, WeightsError
from moganet.inference.blobs import FILE, recall_blob
from moganet.inference.cache import HASHES, keep_folder, what_changed
from moganet.inference.cached import CachedRun, Source
from moganet.inference.export import EXPORTERS
from moganet.inference.exported import read_metadata
from moganet.inference.known import ENTRY
from moganet.models.formats.ours import load_model_file, save_model_file
from moganet.processors import using_threads

SEEDS = range(7)  # 3 formats of 7 changes; the slow sweep takes 520 each


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOGANET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "runtimes"


@pytest.fixture
def knows(cache, monkeypatch):
    """Let this process keep what it finds out of models, as one does without torch; gives what it reads anew."""
    read, opened = [], loading._opened
    monkeypatch.setenv("MOGANET_RUNTIME", "openvino")
    monkeypatch.setattr(loading, "_torch_is_there", lambda: False)
    monkeypatch.setattr(loading, "_opened", lambda what, *how, **ways: read.append(what) or opened(what, *how, **ways))
    need("openvino")
    return read


def answers(predictor):
    return predictor.logits(predictor.preprocess(pictures()[:2]))


def change(path, seed):
    """Change a file as disks, transfers and people do: bits, bytes, a part cut out, cut off, doubled, or zeroed."""
    draw, content = random.Random(seed), bytearray(path.read_bytes())
    place, length = draw.randrange(len(content)), draw.randrange(1, 2000)
    kind = seed % 7
    if kind == 0:
        content[place] ^= 1 << draw.randrange(8)
    elif kind == 1:
        content[place] = 255 - content[place]
    elif kind == 2:
        del content[place : place + length]
    elif kind == 3:
        del content[place:]
    elif kind == 4:
        content[place:place] = content[place : place + length]
    elif kind == 5:
        part = content[place : place + length]
        content[place : place + length] = bytes(len(part)) if any(part) else b"\xff" * len(part)
    else:  # the text of the description, which lies at the end
        start = content.rfind(b"moganet")
        start = len(content) - 3000 if start < 0 else start
        content[min(start + draw.randrange(1, 2000), len(content) - 1)] ^= 128
    path.write_bytes(content)


def files_of(to):
    source = exported(to)
    return [source, source.with_suffix(".bin")] if to == "openvino" else [source]


def check_that_a_change_is_noticed(to, seed, folder):
    parts = files_of(to)
    copies = [Path(shutil.copy(part, folder / part.name)) for part in parts]
    changed = copies[seed % 2 if len(copies) > 1 else 0]
    before = changed.read_bytes()
    change(changed, seed)
    if changed.read_bytes() == before:
        return
    try:
        found = answers(moganet.load(copies[0]))
    except MogaNetError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000, seed
    else:  # between the entries of an archive lies what nobody reads
        assert to == "program" and torch.equal(found, answers(moganet.load(exported(to)))), seed


@pytest.mark.parametrize("to", EXPORTERS)
def test_whatever_is_changed_in_an_exported_file_is_noticed(to, tmp_path):
    for seed in SEEDS:
        check_that_a_change_is_noticed(to, seed, tmp_path)


@pytest.mark.parametrize("to", EXPORTERS)
def test_an_exported_file_does_not_say_where_this_machine_keeps_its_packages(to):
    for part in files_of(to):
        texts = [part.read_bytes()]
        if to == "program":
            with zipfile.ZipFile(part) as archive:
                texts = [archive.read(name) for name in archive.namelist()]
        for package in (torch, moganet):
            assert not any(str(Path(package.__file__).parent).encode() in text for text in texts), (part, package)


@pytest.mark.slow
@pytest.mark.parametrize("to", EXPORTERS)
def test_520_changes_of_each_format_are_noticed(to, tmp_path):
    for seed in range(520):
        check_that_a_change_is_noticed(to, seed, tmp_path)


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2"])
@pytest.mark.parametrize("kind", ["sparse", "empty", "words", "latin", "nest"])
def test_what_is_no_exported_file_is_a_line_before_it_is_read(suffix, kind, tmp_path):
    path = tmp_path / f"m{suffix}"
    if kind == "sparse":
        with open(path, "wb") as file:
            file.truncate(5 << 30)
    else:
        path.write_bytes(
            {"empty": b"", "words": b"no model" * 99, "latin": b'<moganet value="\xff\xe9"/>'}.get(kind, b"[" * 10**6)
        )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError) as caught:
        moganet.load(path)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_weights_of_5_gb_beside_a_small_description_are_not_read(tmp_path):
    need("openvino")
    for part in files_of("openvino"):
        shutil.copy(part, tmp_path / part.name)
    with open(tmp_path / "small.bin", "r+b") as file:
        file.truncate(5 << 30)
    with pytest.raises(WeightsError, match="more than any network"):
        moganet.load(tmp_path / "small.xml")


def test_a_program_whose_entries_unpack_to_more_than_the_file_is_refused(tmp_path):
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/extra/moganet.json", bytes(50 << 20))
    with pytest.raises(WeightsError, match="more bytes than it has"):
        read_metadata(path)


def test_a_file_that_another_tool_wrote_anew_is_no_longer_what_was_written(tmp_path):
    need("onnx")
    onnx = pytest.importorskip("onnx")
    proto, path = onnx.load(exported("onnx")), tmp_path / "m.onnx"
    entry = proto.metadata_props.add()
    entry.key, entry.value = "other", "a line"
    onnx.save(proto, path)
    with pytest.raises(WeightsError, match="hash"):
        read_metadata(path)


@pytest.mark.parametrize("runtime", [pytest.param("onnx", marks=pytest.mark.slow), "openvino"])
def test_a_changed_graph_in_the_cache_is_made_again_and_said(runtime, cache, caplog, monkeypatch):
    need(runtime)
    caplog.set_level("INFO", "moganet")
    first = answers(moganet.load(model(), runtime))
    (folder,) = cache.iterdir()
    names = sorted(path.name for path in folder.iterdir())
    if runtime == "onnx":  # which takes three seconds for the same graph again
        whole = (folder / "onnx.onnx").read_bytes()
        monkeypatch.setattr("moganet.inference.export.onnx.save", lambda graph, path: path.write_bytes(whole))
    assert HASHES in names and what_changed(folder) is None
    for name in names:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 64
        (folder / name).write_bytes(content)
        caplog.clear()
        assert torch.equal(answers(moganet.load(model(), runtime)), first)
        assert "made again" in caplog.text and what_changed(folder) is None
    for name, act in (("foreign.blob", lambda path: path.write_text("")), ("pipe", os.mkfifo), (names[0], Path.unlink)):
        act(folder / name)
        assert torch.equal(answers(moganet.load(model(), runtime)), first) and what_changed(folder) is None
    caplog.clear()
    assert torch.equal(answers(moganet.load(model(), runtime)), first) and "again" not in caplog.text
    assert [path for path in cache.iterdir() if path.name.startswith(".")] == []  # nothing is left behind


@pytest.mark.parametrize("turn", range(60))  # what may go wrong does so once in some of them
def test_a_folder_is_kept_whole_by_whoever_comes_first(turn, tmp_path):
    begin, place = threading.Barrier(8), tmp_path / "place"

    def keep(number):
        made = tmp_path / f"made{number}"
        made.mkdir()
        (made / "graph").write_text("the same from each")
        begin.wait(30)
        keep_folder(made, place)
        return what_changed(place)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(keep, range(8))) == [None] * 8


def test_many_at_once_on_an_empty_cache_agree(cache):
    need("openvino")
    expected = answers(moganet.load(model(), "eager"))
    predictors = [moganet.load(model(), "auto") for _ in range(4)]
    runs = [CachedRun("openvino", Source.of(one.model, one.config, "cpu"), one.config, "f32") for one in predictors]
    x = predictors[0].preprocess(pictures()[:2]).numpy()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda run: run(x), runs))
    assert (
        all(np.abs(one["logits"] - expected.numpy()).max() < 1e-4 for one in found) and len(list(cache.iterdir())) == 1
    )


@pytest.fixture
def small_disk():
    """Let no file grow beyond 20 kB, as a full disk lets none."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("to", ["openvino", "program"])
def test_an_export_to_a_full_disk_is_a_line_and_leaves_nothing(to, tmp_path, small_disk):
    need(to)
    small_disk()
    with pytest.raises(OutputError, match=os.strerror(errno.EFBIG)) as caught:
        export(model(), to, tmp_path / f"m{EXPORTERS[to].SUFFIX}")
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_a_full_disk_under_the_cache_is_said_as_it_is(cache, small_disk, monkeypatch):
    need("openvino")
    monkeypatch.setenv("MOGANET_RUNTIME", "auto")
    predictor, expected = moganet.load(model(), "auto"), answers(moganet.load(model(), "eager"))
    small_disk()
    with pytest.MonkeyPatch.context() as patch:
        heard = []
        patch.setattr("moganet.inference.cached.say", lambda text, **_: heard.append(text))
        assert (answers(predictor) - expected).abs().max() < 1e-4
    assert os.strerror(errno.EFBIG) in heard[0] and not any("can't run" in line for line in heard)


@pytest.mark.parametrize("kind", ["file", "dangling link", "link to a folder"])
def test_whatever_is_in_the_place_of_a_folder_of_the_cache_gives_way(kind, tmp_path):
    made, folder = tmp_path / "made", tmp_path / "folder"
    made.mkdir()
    (made / "m.onnx").write_text("graph")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "kept").touch()
    if kind == "file":
        folder.write_text("x")
    else:
        folder.symlink_to(tmp_path / ("other" if kind == "link to a folder" else "nowhere"))
    keep_folder(made, folder)
    assert what_changed(folder) is None
    assert (folder / "m.onnx").read_text() == "graph"
    assert (tmp_path / "other" / "kept").exists()


@pytest.mark.parametrize("taken", ["m.xml", "m.bin"])
def test_of_two_files_none_is_written_where_one_can_not_be(taken, tmp_path):
    need("openvino")
    (tmp_path / taken).mkdir()
    with pytest.raises(OutputError, match=r"is no file|would be replaced"):
        export(model(), "openvino", tmp_path / "m.xml")
    with pytest.raises(OutputError, match=r"does not end in \.xml"):
        export(model(), "openvino", tmp_path / "other.XML")
    assert [path.name for path in tmp_path.iterdir()] == [taken]


def change_entry(folder, other, way):
    """Change a folder of the cache: some of its bytes, its end, its place with another's, or what it is of."""
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        if way == "bits":
            path.write_bytes(content[:9] + bytes([content[9] ^ 4]) + content[10:])
        elif way == "cut":
            path.write_bytes(content[: len(content) // 2])
        elif way == "empty":
            path.write_bytes(b"")
        elif way == "swapped":
            shutil.copy(other / path.name, path)
        elif way == "gone":
            path.unlink()
        yield path
        path.write_bytes(content)


@pytest.mark.parametrize("way", ["bits", "cut", "empty", "swapped", "gone"])
def test_a_changed_entry_of_what_is_known_is_not_used_and_said(way, knows, cache, tmp_path, caplog):
    caplog.set_level("INFO", "moganet")
    copy, golden = tmp_path / "m.safetensors", GOLDEN / "mini_official.pth.tar"
    shutil.copy(model(), copy)
    expected = answers(moganet.load(copy))
    (folder,) = (cache.parent / "models").iterdir()
    moganet.info(golden)
    (other,) = [each for each in (cache.parent / "models").iterdir() if each != folder]
    for _ in change_entry(folder, other, way):
        knows.clear()
        caplog.clear()
        assert torch.equal(answers(moganet.load(copy)), expected)
        assert knows == [copy] and "made again" in caplog.text
    knows.clear()
    assert torch.equal(answers(moganet.load(copy)), expected) and knows == []


def test_a_whole_entry_in_anothers_place_is_not_used(knows, cache, tmp_path):
    copy, golden = tmp_path / "m.safetensors", GOLDEN / "mini_official.pth.tar"
    shutil.copy(model(), copy)
    expected = answers(moganet.load(copy))
    (own,) = (cache.parent / "models").iterdir()
    described = moganet.info(golden)
    (other,) = [each for each in (cache.parent / "models").iterdir() if each != own]
    for source, place in ((own, other), (other, own)):
        kept = Path(shutil.copytree(place, tmp_path / "kept", dirs_exist_ok=True))
        shutil.rmtree(place)
        shutil.copytree(source, place)
        again = moganet.info(golden)
        assert again.file == described.file and torch.equal(answers(moganet.load(copy)), expected)
        assert (place / ENTRY).read_bytes() == (kept / ENTRY).read_bytes()  # it was made again


def test_another_file_version_or_choice_is_another_entry(knows, tmp_path, monkeypatch):
    copy = tmp_path / "m.safetensors"
    shutil.copy(model(), copy)
    first = answers(moganet.load(copy))
    moganet.load(copy)
    assert knows == [copy]  # once
    state, description = load_model_file(copy)
    loaded = moganet.load(copy)
    save_model_file(copy, {name: t * 1.5 if "head" in name else t for name, t in state.items()}, description)
    assert not torch.equal(answers(moganet.load(copy)), first) and knows == [copy] * 2
    with pytest.raises(WeightsError, match="has changed since"):
        loaded.model  # noqa: B018
    knows.clear()
    moganet.load(copy, gate="double")
    monkeypatch.setattr("moganet.inference.known.version", lambda name: "0")
    moganet.load(copy)
    assert knows == [copy, copy]


def test_notes_on_guesses_and_on_what_info_found_are_the_same_again(knows):
    golden = GOLDEN / "mini_official.pth.tar"
    first, second = moganet.info(golden), moganet.info(golden)
    assert first == second and "these are guesses" in str(second.notes) and knows == [golden]
    assert first.file.keys() == second.file.keys()


def test_a_cache_that_can_not_be_written_changes_no_answer(knows, cache, tmp_path):
    copy = tmp_path / "m.safetensors"
    shutil.copy(model(), copy)
    cache.parent.write_text("a file where the cache would be")
    first = answers(moganet.load(copy))
    assert torch.equal(answers(moganet.load(copy)), first) and knows == [copy, copy]


@pytest.fixture
def blobs(knows, cache):
    """Give the folder of what OpenVINO compiled of a model that was asked once, and by which it answered since."""
    expected = answers(moganet.load(model()))
    (folder,) = (cache.parent / "compiled").iterdir()
    assert torch.equal(answers(moganet.load(model())), expected)
    return folder, expected


def test_what_was_compiled_is_taken_again_and_answers_the_same(blobs, monkeypatch):
    monkeypatch.setattr("openvino.Core.compile_model", None)  # nothing is compiled
    assert torch.equal(answers(moganet.load(model())), blobs[1])
    with using_threads(3), pytest.raises(WeightsError):  # of other threads it is another
        answers(moganet.load(model()))


def wrong_blobs():
    return {
        "damaged": lambda folder: change(folder / FILE, 0),
        "a link": lambda folder: ((folder / FILE).rename(folder.parent / "x"), (folder / FILE).symlink_to("../x")),
        "a group may write it": lambda folder: (folder / FILE).chmod(0o620),
        "no blob": lambda folder: replace_blob(folder, b"no blob"),
    }


def replace_blob(folder, content):
    """Put other bytes in a blob's place, with a hash that says that they are right."""
    (folder / FILE).write_bytes(content)
    told = json.loads((folder / HASHES).read_text())
    told["files"][FILE] = hashlib.sha256(content).hexdigest()
    (folder / HASHES).write_text(json.dumps(told))


@pytest.mark.parametrize("way", wrong_blobs())
def test_a_blob_that_is_not_what_was_kept_is_compiled_anew_in_silence(way, blobs, caplog):
    folder, expected = blobs
    wrong_blobs()[way](folder)
    caplog.clear()
    assert torch.equal(answers(moganet.load(model())), expected) and not caplog.messages
    found = (folder / FILE).lstat()
    assert stat.S_ISREG(found.st_mode) and not found.st_mode & 0o077 and found.st_size > 10_000


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files of users are apart")
def test_a_blob_of_another_user_is_not_taken(blobs, monkeypatch):
    assert recall_blob_in(blobs[0]) is not None
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert recall_blob_in(blobs[0]) is None


def recall_blob_in(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moganet.inference.blobs.folder_of", lambda *_: folder)
        patch.setattr("moganet.inference.blobs.what_changed", lambda *_: None)
        return recall_blob("")
