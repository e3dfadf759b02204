"""Several models, or several views of an image, that answer as one: by the mean of their probabilities; without torch.

An image is prepared for each model as that wants it; models that want the same are one part, which sees it once.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from moganet.config import Precision, Preprocessing
from moganet.errors import ConfigError, DataError
from moganet.inference.file_stream import Seen
from moganet.inference.load import as_predictor
from moganet.inference.predictor import Predictor
from moganet.inference.runs import Array, Outputs, Sizes
from moganet.inference.runtimes import Runtime
from moganet.models.provenance import num_trained_on
from moganet.notices import say
from moganet.results import LeftOut, Member
from moganet.tasks.task import VOTES

if TYPE_CHECKING:
    from torch import nn

Tta = Literal["none", "flip", "6"]
OneOrMore = str | Path | Predictor | Sequence[str | Path | Predictor]
SHIFT = 32  # an image's side, in steps by which its views are moved


def _mirrored(images: Array) -> Array:
    return np.ascontiguousarray(images[..., ::-1])


def _moved(images: Array, way: int) -> Array:
    """Move images up and to the left (1), or back (-1), by a part of their sides; what comes in is their own edge."""
    steps = [max(1, side // SHIFT) for side in images.shape[-2:]]
    margin = [(0, 0), (0, 0), *((step, step) for step in steps)]
    rows, columns = (
        slice(step + way * step, step + way * step + side) for step, side in zip(steps, images.shape[-2:], strict=True)
    )
    return np.ascontiguousarray(np.pad(images, margin, "reflect")[..., rows, columns])


MOVES = {"none": (0,), "flip": (0,), "6": (0, 1, -1)}  # which way each pair of views is moved, the first as it is


def views(images: Array, tta: str) -> Iterator[tuple[Array, bool]]:
    """Give the views of preprocessed images (B, C, H, W), and whether each is a mirror image; first as they are."""
    for way in MOVES[tta]:
        yield (there := _moved(images, way) if way else images), False
        if tta != "none":
            yield _mirrored(there), True


def as_one(
    model: OneOrMore,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    *,
    tta: str = "none",
    calibrated: bool = False,
    **choices: Any,
) -> Predictor:
    """Give a Predictor of a MODEL, or of several which answer by the mean of their probabilities.

    tta: "flip" takes the mean over an image and its mirror image too, "6" over these two where they are, and moved by
    1/32 of their sides to the upper left and to the lower right. calibrated: of one model, average probabilities
    that are scaled by its temperature; of several they are, where each keeps one. choices: as in `load`.
    Raises ConfigError for models of other tasks or other classes than the first, and for moved views of images whose
    pixels are answered.
    """
    if tta not in get_args(Tta):
        raise ConfigError(f"there is no tta {tta!r}; choose one of {', '.join(map(repr, get_args(Tta)))}")
    several: list[Any] = list(model) if isinstance(model, list | tuple) else [model]
    if not several:
        raise ConfigError("no model is given; name one or several")
    members = [as_predictor(one, runtime, precision, **choices) for one in several]
    if len(members) == 1 and tta == "none":
        return members[0]
    if tta == "6" and (placed := next((one for one in members if one.task.by_image), None)) is not None:
        why = f"{placed.name_of_model} answers where in an image something is, which moved views would blur"
        raise ConfigError(f"{why}; leave --tta 6 out")
    lacking = [one.name_of_model for one in members if one.config.task.temperature is None]
    scaled = calibrated or (len(members) > 1 and not lacking)
    joint = Together(members, tta, calibrated=scaled)
    if calibrated:
        joint.check_calibrated()
    _say_what_answers(joint, tta, [] if scaled else lacking)
    return joint


def _say_what_answers(joint: "Together", tta: str, lacking: Sequence[str]) -> None:
    members = joint.members
    if len(members) > 1:
        why = f" ({lacking[0]} keeps no temperature to calibrate with)" if lacking else ""
        kind = "plain" if lacking else "calibrated"
        names = ", ".join(one.name_of_model for one in members)
        say(f"{len(members)} models answer as one, by the mean of their {kind} probabilities{why}: {names}")
    unmirrored = [one.name_of_model for one in members if _mirrored_in_training(one) is False]
    if tta != "none" and unmirrored:
        odd = "was not trained on mirrored images (augment.hflip is 0), and may answer worse by them"
        say(f"{', '.join(unmirrored)} {odd}: compare with --tta none", doubtful=True)


def _mirrored_in_training(predictor: Predictor) -> bool | None:
    """Tell whether a model saw mirrored images; None where its file does not say."""
    recipe = predictor.config.provenance.get("recipe")
    augment = recipe.get("augment") if isinstance(recipe, dict) else None
    share = augment.get("hflip") if isinstance(augment, dict) else None
    return bool(share) if isinstance(share, int | float) else None


class _Joint:
    """What answers for several: their runtimes and precisions, each named once."""

    def __init__(self, joint: "Together") -> None:
        self.joint = joint

    @property
    def runtime(self) -> str:
        return ", ".join(dict.fromkeys(one.runtime for one in self.joint.members))

    @property
    def precision(self) -> str:
        return ", ".join(dict.fromkeys(one.precision for one in self.joint.members))

    def __call__(self, images: Array, sizes: Sizes | None = None) -> Outputs:
        return self.joint.ask(images, sizes)


class Together(Predictor):
    """Predictors that answer as one. parts: one for each way to prepare images, where there are several ways.

    An image is unlike the training images where more than half of the models say so that can tell.
    """

    def __init__(
        self,
        members: Sequence[Predictor],
        tta: str = "none",
        *,
        calibrated: bool = False,
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        first = members[0]
        names = first.class_names if class_names is None else class_names
        self.members, self.tta, self.calibrated = list(members), tta, calibrated
        self.orders = [_order(one, names, first) for one in members]
        described = [one.config.task for one in members]
        task = described[0].joined(described[1:], self.orders, calibrated=calibrated).changed(class_names=names)
        config = first.config.changed(task=task, fixtures=(), sha256="" if len(members) > 1 else first.config.sha256)
        super().__init__(
            _Joint(self),
            config,
            first.device,
            trained=all(one.trained for one in members),
            name_of_model=" + ".join(one.name_of_model for one in members),
        )
        self.judges = Counter[str]()
        groups: dict[Preprocessing, list[Predictor]] = {}
        for one in members:
            groups.setdefault(one.config.preprocessing, []).append(one)
        how: dict[str, Any] = {"calibrated": calibrated, "class_names": names}
        self.parts = [Together(some, tta, **how) for some in groups.values()] if len(groups) > 1 else []

    @property
    def model(self) -> "nn.Module":
        """Raise ConfigError: there is no one network."""
        raise ConfigError(f"{self.name_of_model} have no network of their own; give one of them")

    def named(self) -> tuple[Member, ...]:
        """Say which models answer."""
        return tuple(
            Member(model=one.name_of_model, sha256=one.config.sha256, runtime=one.runtime, precision=one.precision)
            for one in self.members
        )

    def check_calibrated(self) -> None:
        """Raise ConfigError that names the first model without a temperature."""
        for one in self.members:
            one.check_calibrated()
        super().check_calibrated()

    def ask(self, images: Array, sizes: Sizes | None = None, *, judged: bool = False) -> Outputs:
        """Give logits whose probabilities are the mean, for images that are prepared as all of the models want them."""
        if self.parts:
            what = f"{self.name_of_model} prepare images in different ways"
            raise ConfigError(f"{what}; give them images to read, or one of them alone")
        found, votes = list[Array](), np.zeros((len(images), 2), np.float32)
        for one, order in zip(self.members, self.orders, strict=True):
            for number, (view, is_mirrored) in enumerate(views(images, self.tta)):
                outputs = one.ask(view, judged=judged and number == 0)
                scaled = one.task.probabilities(outputs, one.config.task, calibrated=self.calibrated)
                scaled = one.task.mirrored(scaled, one.config.task) if is_mirrored else scaled
                found.append(scaled[:, order].astype(np.float64))
                if judged and number == 0:
                    self._vote(one, outputs, votes)
        return self._of_mean(np.mean(found, 0), votes)

    def _vote(self, one: Predictor, outputs: Outputs, votes: Array) -> None:
        unlike = one.task.unlike(outputs, one.config.task)
        if unlike is not None:
            self.judges[one.judged_by(outputs) or ""] += 1
            votes[:, 0] += unlike
            votes[:, 1] += 1

    def _of_mean(self, probabilities: Array, votes: Array) -> Outputs:
        return {self.task.outputs[0]: self.task.logits_of(probabilities), VOTES: votes}

    def joined(self, parts: Sequence[Outputs]) -> Outputs:
        """Give the mean of what the parts give for the same images, each as often as it has models."""
        weights = [len(part.members) / len(self.members) for part in self.parts]
        shares = [self.task.probabilities(outputs, self.config.task).astype(np.float64) for outputs in parts]
        mean = sum(weight * share for weight, share in zip(weights, shares, strict=True))
        return self._of_mean(np.asarray(mean), np.sum([outputs[VOTES] for outputs in parts], 0))

    def judged_by(self, outputs: Outputs) -> str | None:
        """Name the weaker score where one of the models judges by it."""
        judges = sum((part.judges for part in self.parts), self.judges)
        return "energy" if judges["energy"] else next(iter(judges), None)

    def _each(
        self, items: Sequence[Any], batch_size: int, *, judged: bool = False, boxes: Sequence[Any] | None = None
    ) -> Iterator[Outputs]:
        if not self.parts:
            yield from super()._each(items, batch_size, judged=judged, boxes=boxes)
            return
        streams = [part._each(items, batch_size, judged=judged, boxes=boxes) for part in self.parts]
        yield from map(self.joined, zip(*streams, strict=True))


def _order(one: Predictor, names: tuple[str, ...], first: Predictor) -> list[int]:
    """Give a model's index for each of the common classes. Raises ConfigError where it has others."""
    if one.task is not first.task:
        raise ConfigError(
            f"{one.name_of_model} answers another question ({one.task.name}) than {first.name_of_model} "
            f"({first.task.name}); give models of one task"
        )
    own = one.class_names
    if own == names:
        return list(range(len(names)))
    if Counter(own) == Counter(names) and len(set(names)) == len(names):
        return [own.index(name) for name in names]
    only = [name for name in (*own, *names) if (name in own) != (name in names)][:3]
    differ = f"only one of them knows {', '.join(map(repr, only))}" if only else "some of their classes share a name"
    raise ConfigError(
        f"{one.name_of_model} and {first.name_of_model} can't answer as one: they know {len(own)} and {len(names)} "
        f"classes, and {differ}; give models of the same classes"
    )


class Images(Protocol):
    """A stream from images to what a model gives for them, as FileStream and Stream are."""

    @property
    def unreadable(self) -> list[LeftOut]: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Seen]: ...


def stream_of(predictor: Predictor, make: Callable[[Predictor], Any]) -> Any:
    """Make a predictor's stream of images; of one with parts, theirs side by side."""
    parts = predictor.parts if isinstance(predictor, Together) else []
    return SideBySide(predictor, [make(part) for part in parts]) if parts else make(predictor)


def num_streams(predictor: Predictor) -> int:
    """Tell how many streams `stream_of` makes."""
    return len(predictor.parts) or 1 if isinstance(predictor, Together) else 1


class SideBySide:
    """Streams of the same images, one a part of a predictor; each part reads them for itself.

    An image that one part can't read is one that can't be read.
    """

    def __init__(self, predictor: Any, streams: Sequence[Images]) -> None:
        self.predictor, self.streams, self.num_seen = predictor, streams, 0

    @property
    def unreadable(self) -> list[LeftOut]:
        """Give what could not be read of the batches so far, each file once."""
        return list({one.file: one for stream in self.streams for one in stream.unreadable}.values())

    def __len__(self) -> int:
        return len(self.streams[0])

    def __iter__(self) -> Iterator[Seen]:
        coming = [iter(stream) for stream in self.streams]
        heads = [next(one, None) for one in coming]
        while None not in heads:
            seen = [head for head in heads if head is not None]
            latest = max(head.places[0] for head in seen)
            behind = [head.places[-1] < latest for head in seen]  # a batch of which another part could read nothing
            if not any(behind):
                yield from self._joined(seen)
            skips = zip(coming, heads, behind, strict=True)
            heads = [head if any(behind) and not is_behind else next(one, None) for one, head, is_behind in skips]

    def _joined(self, seen: Sequence[Seen]) -> Iterator[Seen]:
        common = set.intersection(*(set(one.places) for one in seen))
        chosen = [_rows(one, common) for one in seen]
        if common:
            self.num_seen += len(common)
            yield replace(chosen[0], outputs=self.predictor.joined([one.outputs for one in chosen]))

    def check(self, where: str) -> None:
        """Raise DataError where the stream has ended and not one image could be read."""
        if not self.num_seen:
            reason = self.unreadable[0].reason if self.unreadable else "it has none"
            raise DataError(f"none of the images of {where} can be read: {reason}")


def _rows(seen: Seen, places: set[int]) -> Seen:
    """Give the part of a batch whose images stand at these places."""
    if len(places) == len(seen.places):
        return seen
    rows: NDArray[np.int64] = np.array([i for i, place in enumerate(seen.places) if place in places], int)
    targets = None if seen.targets is None else seen.targets[rows.tolist()]
    outputs = {name: values[rows] for name, values in seen.outputs.items()}
    return Seen(tuple(seen.places[row] for row in rows), outputs, targets)


def first_of(predictor: Predictor) -> Predictor:
    """Give the first of several models, whose data set is taken where none is named; one alone as it is."""
    return predictor.members[0] if isinstance(predictor, Together) else predictor


def answered_by(predictor: Predictor) -> dict[str, Any]:
    """Give what a result says of who answered: `tta` and `models`, where there are several views or models."""
    if not isinstance(predictor, Together):
        return {}
    views = {} if predictor.tta == "none" else {"tta": predictor.tta}
    return views | ({"models": predictor.named()} if len(predictor.members) > 1 else {})


def say_trained_on(predictor: Predictor, images: Any, where: str) -> None:
    """Say which of several models, but the first, whose data set it is, were trained on images that measure them."""
    for one in predictor.members[1:] if isinstance(predictor, Together) else ():
        known, told = num_trained_on(one.config.provenance, images.contents)
        if known:
            what = f"{one.name_of_model} was trained on {known:,} of {told:,} images of {where}, by their contents"
            say(f"{what}; figures of these flatter", doubtful=True)
