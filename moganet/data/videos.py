"""Frames of videos, by PyAV: which there are is told by the packets, so that none is decoded to count them.

Films are turned as their maker says, frames stand at uneven times in many of them, and many end in the middle.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from moganet.data.formats import VIDEO_SUFFIXES
from moganet.data.within import InTurn, Within, stamp_of
from moganet.errors import ConfigError, DataError, import_extra, reason_of
from moganet.notices import say

UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
FRAMES = ("frames", "frame", "f")
EVERY = "give a time or a number of frames, as 1s, 500ms, 2min or 10frames"
CUT = 2.0  # seconds that a video may end before it says, with nothing wrong


@dataclass(frozen=True)
class Every:
    """Which frames are taken: one every so many seconds, or every n-th."""

    seconds: float | None = None
    frames: int = 1

    def choose(self, times: Sequence[float]) -> list[int]:
        """Give which of the frames at these times are taken; of a moment, that which is seen then."""
        if self.seconds is None:
            return list(range(0, len(times), self.frames))
        moments = (number * self.seconds for number in range(int(times[-1] / self.seconds + 1e-6) + 1))
        return list(dict.fromkeys(bisect_right(times, moment + 1e-6) - 1 for moment in moments))


def parse_every(text: str) -> Every:
    """Read `1s`, `500ms`, `2min` or `10frames`. Raises ConfigError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]+)\s*", text.lower())
    number, unit = (float(found[1]), found[2]) if found else (0.0, "")
    if unit in FRAMES and number >= 1 and number == int(number):
        return Every(frames=int(number))
    if unit not in UNITS or number * UNITS[unit] < 1e-3:
        raise ConfigError(f"--every {text} is no distance between frames; {EVERY}")
    return Every(number * UNITS[unit])


def is_video(path: Path) -> bool:
    """Tell, by its name, whether a file is a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def list_frames(path: Path, every: Every | None) -> list[Within]:
    """List the frames of a video that are taken, one a second where nothing is said.

    Raises DataError where it has none, MissingExtraError without PyAV.
    """
    asked = every or Every(1.0)
    video, stamp = VideoReader(path, asked), stamp_of(path)
    if every is None:
        rate = (len(video.times) - 1) / (video.times[-1] or 1.0)
        said = f"{len(video.chosen):,} of its {len(video.times):,} frames (about {rate:.3g} a second)"
        say(f"of {path} a frame a second is taken, {said}; choose by --every, as --every 1frames")
    return [
        Within(path, place, f"{path}/{video.times[frame]:.3f}s", VideoReader, video.times[frame], asked, stamp)
        for place, frame in enumerate(video.chosen)
    ]


class VideoReader:
    """An open video. times: of all frames, seconds from the first; chosen: which of them are asked for."""

    in_turn: ClassVar[bool] = True

    def __init__(self, path: Path, asked: Every) -> None:
        self.path = path
        self.stamps, self.times = self._look()
        self.chosen = asked.choose(self.times)
        self.places = {self.stamps[frame]: place for place, frame in enumerate(self.chosen)}
        self.turn = InTurn(self._frames, "this frame can't be decoded: the video is damaged there, or cut off")

    def read(self, place: int) -> np.ndarray:
        """Give a frame's pixels (H, W, 3), upright."""
        frame = self.turn.get(place)
        pixels: np.ndarray = frame.to_ndarray(format="rgb24")
        quarters = round(_turned(frame) / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, quarters))

    def _look(self) -> tuple[list[int], list[float]]:
        """Give what stands on each frame, and its time, from the packets alone."""
        with self._open() as video:
            stream = _stream_of(video)
            stamps, numbered = [], 0
            for packet in _packets(video, stream):
                if packet.size and not packet.is_discard:
                    stamps.append(packet.pts)
                    numbered += packet.pts is None
            unit, says = float(stream.time_base or 0), _duration(video, stream)
            if numbered or not unit:  # nothing stands on them: they are counted
                stamps, unit = list(range(len(stamps))), float(1 / (stream.average_rate or Fraction(25)))
                say(f"the frames of {self.path} have no times of their own: {1 / unit:.4g} a second are taken")
        ordered = sorted(set(stamps))
        if not ordered:
            raise DataError("the video has no frames")
        times = [(one - ordered[0]) * unit for one in ordered]
        if says is not None and says > times[-1] + max(CUT, 0.1 * says):
            say(f"{self.path} says that it lasts {says:.1f} s, and ends after {times[-1]:.1f} s: it may be cut off")
        self.counted = bool(numbered)
        return ordered, times

    def _frames(self) -> Iterator[tuple[int, Any]]:
        with self._open() as video:
            stream, number = _stream_of(video), 0
            stream.thread_type = "AUTO"
            for packet in _packets(video, stream, ends=True):
                for frame in _decoded(packet):
                    place = self.places.get(number if self.counted else frame.pts)
                    number += 1
                    if place is not None and not frame.is_corrupt:
                        yield place, frame

    def _open(self) -> Any:
        av = import_extra("av", "reading a video", "video")
        try:
            return av.open(str(self.path), metadata_errors="replace")
        except Exception as error:  # FFmpeg's errors are of many classes
            raise DataError(f"it is no video that can be read: {reason_of(error)}") from None


def _stream_of(video: Any) -> Any:
    """Give the stream of pictures, which a song's cover is not."""
    for stream in video.streams.video:
        if stream.codec_context is not None and not int(stream.disposition) & ATTACHED_PICTURE:
            return stream
    raise DataError("it has no stream of pictures" + (", sound only" if video.streams.audio else ""))


ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC


def _packets(video: Any, stream: Any, *, ends: bool = False) -> Iterator[Any]:
    """Give packets to the end, or to where the file is damaged. ends: with the empty one that ends the decoding."""
    try:
        for packet in video.demux(stream):
            if packet.size or ends:
                yield packet
    except Exception as error:  # FFmpeg's errors are of many classes
        say(f"{video.name} is damaged or cut off: {reason_of(error)}")


def _decoded(packet: Any) -> list[Any]:
    try:
        return list(packet.decode())
    except Exception:  # frames that do not come are named by whoever asks for them
        return []


def _turned(frame: Any) -> float:
    """Give by how many degrees, against the clock, a frame is to be turned."""
    return float(getattr(frame, "rotation", 0) or 0)


def _duration(video: Any, stream: Any) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return video.duration / 1e6 if video.duration else None
