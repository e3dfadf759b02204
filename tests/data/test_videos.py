"""Frames of videos: which are taken, at which times, upright, also of what is damaged. Needs PyAV (extra 'video')."""

import struct
import sys
from fractions import Fraction

import numpy as np
import pytest

from moganet.data.listing import list_files
from moganet.data.read import read
from moganet.data.videos import Every, parse_every
from moganet.errors import ConfigError, DataError, MissingExtraError
from moganet.notices import listening

WIDTH, HEIGHT = 64, 48


def write(path, times, codec="mpeg4", sound=False):
    """Write a video whose left half is red, and whose blue grows with each frame. times: of frames, milliseconds."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as video:
        stream = video.add_stream("aac" if sound else codec, rate=8000 if sound else 10)
        if not sound:
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times):
            if sound:
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 8000, number * 1024
            else:
                pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
                pixels[:, : WIDTH // 2] = 255, 0, 0
                pixels[..., 2] = min(255, number * 4)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = time, Fraction(1, 1000)
            video.mux(stream.encode(frame))
        video.mux(stream.encode())
    return path


def blue(one):
    return int(read(one).pixels[2, HEIGHT // 2, WIDTH // 2 + 8])


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_frame_is_taken_now_and_then_with_its_time(name, tmp_path):
    video = write(tmp_path / name, range(0, 5000, 100))
    with listening() as said:
        found, missing = list_files([video])
    assert [one.time for one in found] == pytest.approx([0, 1, 2, 3, 4]) and not missing
    assert str(found[1]) == f"{video}/1.000s" and "10 a second" in said[0] and "--every" in said[0]
    assert [blue(one) for one in found] == pytest.approx([0, 40, 80, 120, 160], abs=12)
    with listening() as said:
        assert len(list_files([video], Every(frames=1))[0]) == 50
        assert len(list_files([video], Every(0.25))[0]) == 20
    assert said == []


def test_frames_at_uneven_times_are_those_that_are_seen(tmp_path):
    video = write(tmp_path / "a.mkv", [0, 100, 2500, 2600, 2700, 6000])
    assert [one.time for one in list_files([video], Every(1.0))[0]] == pytest.approx([0, 0.1, 2.7, 6])


@pytest.mark.parametrize(
    ("matrix", "side"), [((0, 1, -1, 0), "top"), ((-1, 0, 0, -1), "right"), ((0, -1, 1, 0), "bottom")]
)
def test_a_video_that_was_taken_on_its_side_is_turned(matrix, side, tmp_path):
    video = write(tmp_path / "a.mp4", range(0, 500, 100))
    content = bytearray(video.read_bytes())
    place = content.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    video.write_bytes(content)
    pixels = read(list_files([video])[0][0]).pixels
    height, width = pixels.shape[1:]
    red = {"top": (4, width // 2), "bottom": (height - 4, width // 2), "right": (height // 2, width - 4)}[side]
    assert (height > width) == (side != "right") and pixels[0][red] > 200
    assert sum(pixels[0][y, x] > 200 for y, x in [(4, width // 2), (height - 4, width // 2)]) == (
        2 if side == "right" else 1
    )


def test_what_is_damaged_or_no_video_is_named(tmp_path):
    whole = write(tmp_path / "a.mkv", range(0, 20000, 100)).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    with listening() as said:
        found, missing = list_files([tmp_path / "cut.mkv"], Every(1.0))
    assert 5 < len(found) < 15 and not missing and any("cut off" in one for one in said)
    broken = bytearray(whole)
    broken[len(whole) // 2 : len(whole) // 2 + 3000] = bytes(3000)
    (tmp_path / "broken.mkv").write_bytes(broken)
    found, _ = list_files([tmp_path / "broken.mkv"], Every(frames=1))
    good = 0
    for one in found:
        try:
            read(one)
            good += 1
        except DataError as error:
            assert "this frame can't be decoded" in str(error)
    assert good > 50
    (tmp_path / "no.mp4").write_bytes(b"no video" * 100)
    write(tmp_path / "sound.mp4", range(5), sound=True)
    found, missing = list_files([tmp_path / "no.mp4", tmp_path / "sound.mp4"])
    assert not found and "no video that can be read" in missing[0].reason and "sound only" in missing[1].reason


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("1s", Every(1.0)),
        (" .5 S", Every(0.5)),
        ("500ms", Every(0.5)),
        ("2min", Every(120.0)),
        ("10frames", Every(None, 10)),
    ],
)
def test_every_takes_times_and_frames(text, every):
    assert parse_every(text) == every


@pytest.mark.parametrize("text", ["1", "", "0s", "-1s", "1.5frames", "s", "nan s", "1e3s", "0.0001ms"])
def test_every_refuses_what_it_can_not_mean(text):
    with pytest.raises(ConfigError, match="1s, 500ms"):
        parse_every(text)


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(MissingExtraError, match=r"moganet\[video\]"):
        list_files([tmp_path / "a.mp4"])
