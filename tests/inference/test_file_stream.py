"""Files are read by threads as one thread reads them: in order, what can't be read is named, and nothing waits."""

import threading

import numpy as np
import pytest
from PIL import Image
from small_model import model

import moganet
from moganet.errors import ConfigError, WorkerError
from moganet.inference.file_stream import FileStream, read_ahead


@pytest.fixture
def folder(tmp_path):
    draw = np.random.RandomState(0)
    for i in range(23):
        Image.fromarray(draw.randint(0, 256, (20 + i, 40 - i, 3), np.uint8)).save(tmp_path / f"{i:02}.jpg")
    (tmp_path / "05.jpg").write_bytes(b"no image")
    (tmp_path / "22.jpg").write_bytes((tmp_path / "21.jpg").read_bytes()[:300])
    return tmp_path


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_threads_give_what_one_gives(folder, batch_size):
    predictor, files = moganet.load(model()), sorted(folder.glob("*.jpg"))
    alone, ahead = (FileStream(predictor, files, batch_size, threads) for threads in (0, 4))
    (expected, told), (found, also_told) = (
        zip(*((seen, tuple(stream.unreadable)) for seen in stream), strict=True) for stream in (alone, ahead)
    )
    assert also_told == told  # what is lost, with its own batch and not with the one before
    assert [one.places for one in found] == [one.places for one in expected]
    assert sum((one.places for one in found), ()) == tuple(i for i in range(23) if i not in (5, 22))
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.outputs["logits"], other.outputs["logits"])
    assert ahead.unreadable == alone.unreadable and [one.file for one in ahead.unreadable] == [
        str(files[5]),
        str(files[22]),
    ]


def test_what_is_said_in_a_thread_is_heard(tmp_path):
    for i in range(3):
        Image.fromarray(np.full((20, 20), 60000, np.uint16)).save(tmp_path / f"{i}.png")
    result = moganet.predict(model(), tmp_path)
    assert len(result.predictions) == 3 and sum("16-bit grey" in note for note in result.notes) == 1


def test_threads_that_give_nothing_are_given_up(monkeypatch):
    monkeypatch.setenv("MOGANET_WAIT", "0.2")
    stuck = threading.Event()
    with pytest.raises(WorkerError, match=r"threads that read images gave nothing for 0.2 s.*--workers 0"):
        list(read_ahead(lambda item: stuck.wait(60), [1, 2, 3], threads=2, ahead=2))
    stuck.set()


def test_an_error_within_a_thread_reaches_its_caller():
    def fail(item):
        raise KeyError(item)

    with pytest.raises(KeyError):
        list(read_ahead(fail, [1, 2, 3], threads=2, ahead=3))


def test_no_more_is_read_ahead_than_was_asked_for():
    read = []
    stream = read_ahead(lambda item: read.append(item) or item, range(1000), threads=2, ahead=5)
    assert next(stream) == 0
    stream.close()
    assert len(read) <= 7


def test_fast_decoding_is_near_the_exact_answers_and_said(tmp_path):
    smooth = Image.fromarray(np.random.RandomState(0).randint(0, 256, (9, 12, 3), np.uint8)).resize((1200, 900))
    (tmp_path / "class 0").mkdir()
    smooth.save(tmp_path / "class 0" / "x.jpg", quality=95)
    exact, fast = (moganet.predict(model(), tmp_path, fast_decoding=fast) for fast in (False, True))
    (exact, fast) = ([row.classes[0].probability for row in one.predictions] for one in (exact, fast))
    assert exact != fast and np.allclose(exact, fast, atol=0.05)
    with pytest.raises(ConfigError, match="leave --workers away"):
        moganet.evaluate(model(), f"folder:{tmp_path}", "all", fast_decoding=True, workers=1)
