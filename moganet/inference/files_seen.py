"""A model's stream of files: read by threads, or by processes where these are asked for or feed a GPU."""

import importlib
from collections.abc import Sequence
from itertools import count
from typing import Any

from moganet.data.contents import ImageFile
from moganet.data.within import Within, in_lane
from moganet.inference.file_stream import BoxesOf, FileStream, no_boxes
from moganet.inference.predictor import Predictor
from moganet.inference.together import stream_of


def stream_of_files(
    predictor: Predictor,
    files: Sequence[ImageFile],
    *,
    batch_size: int | None,
    workers: int | None,
    fast_decoding: bool,
    boxes_of: BoxesOf = no_boxes,
) -> Any:
    """Make the stream by which a model, or several as one, answer for files.

    workers: processes; None: what suits. boxes_of: as in `FileStream`.
    """
    so: dict[str, Any] = {"fast_decoding": fast_decoding, "judged": True, "boxes_of": boxes_of}
    in_turn = any(isinstance(file, Within) and file.reader.in_turn for file in files)  # by this process alone
    many_read = (workers or predictor.device.type != "cpu") and not in_turn
    if many_read and len(files) > (batch_size or 1):  # one batch is read here
        many = importlib.import_module("moganet.inference.stream")

        def by_processes(one: Predictor) -> Any:
            split = many.split_of_files(files, one.config.preprocessing.white_level)
            return many.Stream(one, split, batch_size, workers, **so)

        return stream_of(predictor, by_processes)
    lanes = count()  # each reads what can be read in turn only by itself
    threads = 0 if workers == 0 else None
    return stream_of(predictor, lambda one: FileStream(one, in_lane(files, next(lanes)), batch_size, threads, **so))
