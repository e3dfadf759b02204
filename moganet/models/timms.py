"""Networks of timm's ("timm:NAME"), and its configurations in our words: preprocessing, class names, ends."""

import functools
import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from moganet.config import Architecture, HeatmapHead, MapsHead, PixelHead, Preprocessing, RoiHead
from moganet.models.description import ModelDescription
from moganet.models.reading.finders import ANCHORS
from moganet.models.reading.heads import names_in_backbone
from moganet.network import VARIANTS
from moganet.network.releases import configuration_of
from moganet.notices import say
from moganet.tasks import TASKS
from moganet.tasks.recipes import DEFAULT

if TYPE_CHECKING:
    from torch import Tensor

TIMM = "timm:"
# What timm takes where a configuration does not say.
TIMMS: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "crop_pct": 0.875,
    "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
CROP_MODES = get_args(Preprocessing.model_fields["crop_mode"].annotation)


class Rows(NamedTuple):
    """How the rows of a tensor belong to classes: so many of each, all classes so often, and others behind them."""

    each: int = 1
    times: int = 1
    behind: int = 0

    def classes(self, rows: int) -> int:
        """Give how many classes so many rows are of."""
        return (rows - self.behind) // (self.each * self.times)

    def of(self, order: "Sequence[int]", classes: int) -> list[int]:
        """Give the rows of classes in an order."""
        found = [
            (time * classes + one) * self.each + part
            for time in range(self.times)
            for one in order
            for part in range(self.each)
        ]
        start = classes * self.each * self.times
        return [*found, *range(start, start + self.behind)]


class Ends(NamedTuple):
    """Names of the modules at which a network takes an image's channels, and gives its classes.

    rows: how those of heads belong to classes, where it is not one row for each.
    """

    stems: tuple[str, ...]
    heads: tuple[str, ...]
    rows: "Mapping[str, Rows]" = MappingProxyType({})

    def is_head(self, tensor: str) -> bool:
        """Tell whether a tensor is a head's, by its name."""
        return tensor.startswith(tuple(f"{head}." for head in self.heads))

    def outputs(self, state: "Mapping[str, Tensor]") -> int:
        """Give the number of classes that the head of a state dict tells apart, 0 without a head."""
        heads = ((self.rows_of(name), len(t)) for name, t in state.items() if self.is_head(name) and t.dim())
        return next((rows.classes(number) for rows, number in heads), 0)

    def rows_of(self, tensor: str) -> Rows:
        """Give how the rows of a head's tensor belong to classes."""
        return self.rows.get(tensor.rpartition(".")[0], Rows())

    def reordered(self, name: str, tensor: "Tensor", order: "Sequence[int]") -> "Tensor":
        """Give a tensor, a head's for its classes in another order. order: the old place of each."""
        if not self.is_head(name):
            return tensor
        rows = self.rows_of(name)
        return tensor[rows.of(order, rows.classes(len(tensor)))]


def is_timms(name: object) -> bool:
    """Tell whether a name is of a network of timm's."""
    return str(name).startswith(TIMM)


@functools.cache
def configuration(name: str) -> Mapping[str, Any]:
    """Give timm's configuration of a network; it is empty for one that timm does not know."""
    if name.partition(".")[0] in VARIANTS:
        return configuration_of(name)
    cfg = importlib.import_module("timm").get_pretrained_cfg(name.removeprefix(TIMM))
    return {} if cfg is None else {key: value for key, value in cfg.to_dict().items() if value is not None}


def ends_of(architecture: Architecture) -> Ends:
    """Give the ends of a network; those of a MogaNet where timm does not know it."""
    cfg = configuration(architecture.name)
    given = cfg.get("first_conv", "patch_embed1.projection.0"), cfg.get("classifier", "head")
    stems, heads = ((one,) if isinstance(one, str) else tuple(one) for one in given)
    if architecture.head is None:
        return Ends(stems, heads)
    stems = tuple(name for stem in stems for name in names_in_backbone(stem))
    rows = _last_of(architecture.head)
    return Ends(stems, tuple(rows), rows)


def _last_of(head: MapsHead) -> dict[str, Rows]:
    """Name the modules of a head that give something for each class, and say which rows of them."""
    if isinstance(head, PixelHead):
        return {"decode_head.conv_seg": Rows(), "auxiliary_head.conv_seg": Rows()}
    if isinstance(head, HeatmapHead):
        return {"keypoint_head.final_layer": Rows()}
    if not isinstance(head, RoiHead):
        return {"bbox_head.retina_cls": Rows(times=ANCHORS)}
    found = {}
    for stage in [f"{stage}." for stage in range(head.stages)] if head.stages > 1 else [""]:
        found[f"roi_head.bbox_head.{stage}fc_cls"] = Rows(behind=1)
        if not head.one_box:
            found[f"roi_head.bbox_head.{stage}fc_reg"] = Rows(each=4)
        if head.masks:
            found[f"roi_head.mask_head.{stage}conv_logits"] = Rows()
    return found


def preprocessing_of(cfg: Mapping[str, Any], channels: int | None = None) -> Preprocessing:
    """Translate a configuration of timm's, with what timm takes where it does not say.

    channels: of the network, where they may be others than the configuration's; mean and deviation are 0.5 then.
    """
    cfg = {**TIMMS, **{key: value for key, value in cfg.items() if value is not None}}
    own, height, width = cfg["input_size"]
    mode, channels = cfg.get("crop_mode", "center"), channels or own
    if mode not in CROP_MODES:
        say(f"timm's crop_mode {str(mode)[:60]} is not known here: center is taken", doubtful=True)
    known = channels in (own, len(cfg["mean"]))
    return Preprocessing(
        size=(height, width),
        crop_mode=mode if mode in CROP_MODES else "center",
        crop_fraction=cfg["crop_pct"],
        interpolation=cfg["interpolation"],
        channels=channels,
        mean=cfg["mean"] if known else (0.5,) * channels,
        std=cfg["std"] if known else (0.5,) * channels,
    )


def describe(
    architecture: Architecture, provenance: dict[str, Any], cfg: Mapping[str, Any] | None = None
) -> ModelDescription:
    """Describe a network that brings no description of its own: timm's configuration, ImageNet's names for 1000."""
    return ModelDescription(
        architecture=architecture,
        preprocessing=preprocessing_of(cfg or configuration(architecture.name), architecture.in_chans or 3),
        task=TASKS[DEFAULT].description(name=DEFAULT, class_names=default_names(architecture.num_classes or 0)),
        provenance=provenance,
    )


def default_names(classes: int) -> tuple[str, ...]:
    """Name classes that no file names: ImageNet's for 1000, else by number."""
    if classes == 1000:
        info = importlib.import_module("timm.data").ImageNetInfo()
        names = info.label_descriptions()
        # Two of them are a "crane", the bird and the machine: WordNet's number tells them apart.
        numbered = ((name, info.index_to_label_name(i)) for i, name in enumerate(names))
        return tuple(f"{name} ({number})" if names.count(name) > 1 else name for name, number in numbered)
    return tuple(f"class_{i}" for i in range(classes))
