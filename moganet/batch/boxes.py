"""In which boxes of a batch's files a model of key points looks: told by a file, found by a detector, or the whole."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moganet.data.contents import ImageFile
from moganet.data.given_boxes import GivenBoxes
from moganet.errors import ConfigError
from moganet.inference.file_stream import BoxesOf, no_boxes
from moganet.inference.predictor import Predictor
from moganet.inference.runs import Array
from moganet.inference.which_boxes import Detected, chosen_boxes, told

Boxes = str | Path | Predictor | None  # as a person gives them


@dataclass(frozen=True)
class FileBoxes:
    """told: the boxes (N, 5) of each file by its name, where a file gave them. detected: by what they are found, else.

    Neither is the whole of each image. identity: of the file's content, or of the detector.
    """

    told: Mapping[str, Array] | None = None
    detected: Detected | None = None
    identity: str | None = None

    @classmethod
    def of(cls, predictor: Predictor, given: Boxes, files: Sequence[ImageFile]) -> "FileBoxes":
        """Find what was given for a model, and in it all files. Raises what `chosen_boxes` does."""
        if given is not None and not isinstance(given, str | Path | Predictor):
            raise ConfigError(f"boxes is a {type(given).__name__}; a batch takes a file, a detector, or 'whole'")
        found = chosen_boxes(predictor, given, None)
        if isinstance(found, Detected):
            return cls(detected=found, identity=found.detector.sha256)
        if not isinstance(found, GivenBoxes):
            return cls()
        names = [str(file) for file in files]
        content = hashlib.sha256(found.file.read_bytes()).hexdigest()
        return cls(told=dict(zip(names, found.of(names), strict=True)), identity=content)

    def of_files(self, files: Sequence[ImageFile]) -> BoxesOf:
        """Give what tells the boxes of these files by their places."""
        if self.detected is not None:
            return self.detected.anew()
        return no_boxes if self.told is None else told([self.told[str(file)] for file in files])

    def only(self, files: Sequence[ImageFile]) -> Mapping[str, Array] | None:
        """Give what a file told of some files."""
        return None if self.told is None else {str(file): self.told[str(file)] for file in files}
