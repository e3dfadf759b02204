"""The trained weights that have names, released and shipped: where each file lies, and what it holds.

They stand here and not beside the downloads, since timm takes the configurations of a variant's weights when it is
registered; segmenters, detectors and networks for key points are none of its. Figures are the published ones, of
classifiers on ImageNet-1k's validation set at the given size.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from moganet.network.variants import VARIANTS

if TYPE_CHECKING:
    from torch import nn

    from moganet.config import Gate

OFFICIAL = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-in1k-weights"
DETECTION = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-det-weights"
SEGMENTATION = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-seg-weights"
POSE = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-pose-weights"
OPENMIXUP = "https://github.com/Westlake-AI/openmixup/releases/download/moganet-in1k-weights"


@dataclass(frozen=True)
class Published(ABC):
    """A released file. weights: those that its figure is of. folder: its address without the file's name.

    head: the name of what stands on its network, "none" of a classifier.
    """

    file: str
    _: KW_ONLY
    head: str = "none"
    weights: Literal["plain", "ema"] = "plain"
    gate: "Gate" = "single"
    folder: str = OFFICIAL
    data: ClassVar[str]  # on which it was trained and measured

    @property
    def url(self) -> str:
        """Give the file's address."""
        return f"{self.folder}/{self.file}"

    @property
    @abstractmethod
    def accuracy(self) -> str:
        """Say what was published of it."""


@dataclass(frozen=True)
class Release(Published):
    """A classifier. size: pixels, of height and width. top1: in per cent."""

    size: int
    top1: float
    data = "ImageNet-1k"

    @property
    def accuracy(self) -> str:
        return f"top-1 {self.top1} %"


@dataclass(frozen=True)
class Segmenter(Published):
    """A segmenter. miou, macc: mean intersection over union, and mean accuracy of the classes, in per cent."""

    miou: float
    macc: float
    _: KW_ONLY
    folder: str = SEGMENTATION
    data = "ADE20K"

    @property
    def accuracy(self) -> str:
        return f"mIoU {self.miou} %, mean accuracy {self.macc} %"


@dataclass(frozen=True)
class Finder(Published):
    """A detector. box_ap, mask_ap: COCO's average precision, in per cent; None without masks."""

    box_ap: float
    mask_ap: float | None = None
    _: KW_ONLY
    folder: str = DETECTION
    data = "COCO"

    @property
    def accuracy(self) -> str:
        masks = "" if self.mask_ap is None else f", mask AP {self.mask_ap} %"
        return f"box AP {self.box_ap} %{masks}"


RELEASES: dict[str, Release] = {
    "moganet_xtiny.in1k": Release("moganet_xtiny_sz224_8xbs128_ep300.pth.tar", 224, 76.5),
    "moganet_xtiny.in1k_256": Release("moganet_xtiny_sz256_8xbs128_ep300.pth.tar", 256, 77.2),
    "moganet_tiny.in1k": Release("moganet_tiny_sz224_8xbs128_ep300.pth.tar", 224, 79.0),
    "moganet_tiny.in1k_256": Release("moganet_tiny_sz256_8xbs128_ep300.pth.tar", 256, 79.6),
    "moganet_tiny.openmixup_in1k_256": Release(
        "moga_tiny_deit3_sz256_lr2e_3_8xb128_fp16_ep300.pth", 256, 80.0, gate="double", folder=OPENMIXUP
    ),
    "moganet_small.in1k": Release("moganet_small_sz224_8xbs128_ep300.pth.tar", 224, 83.4, weights="ema"),
    "moganet_base.in1k": Release("moganet_base_sz224_8xbs128_ep300.pth.tar", 224, 84.3, weights="ema"),
    "moganet_large.in1k": Release("moganet_large_sz224_8xbs64_ep300.pth.tar", 224, 84.7, weights="ema"),
    "moganet_xlarge.in1k": Release("moganet_xlarge_sz224_8xbs64_ep300.pth.tar", 224, 85.1, weights="ema"),
}

# On ADE20K's validation set, at one scale: mIoU and mean accuracy of Semantic FPN, and of UPerNet.
_ON_ADE20K = {
    "xtiny": ((40.3, 52.4), (42.2, 55.1)),
    "tiny": ((43.1, 55.4), (43.7, 57.1)),
    "small": ((47.7, 59.8), (49.2, 61.6)),
    "base": ((49.3, 61.6), (50.1, 63.4)),
    "large": ((50.2, 63.0), (50.9, 63.5)),
}
SEGMENTERS: dict[str, Segmenter] = {}
for _size, (_fpn, _upernet) in _ON_ADE20K.items():
    _files = f"fpn_moganet_{_size}_80k_ade20k.pth", f"upernet_moganet_{_size}_512x512_160k_ade20k.pth"
    SEGMENTERS[f"moganet_{_size}.fpn_ade20k"] = Segmenter(_files[0], *_fpn, head="fpn")
    SEGMENTERS[f"moganet_{_size}.upernet_ade20k"] = Segmenter(_files[1], *_upernet, head="upernet")

# On COCO's validation set, after 12 epochs: RetinaNet's AP, and Mask R-CNN's of boxes and masks.
_ON_COCO = {
    "xtiny": (39.7, (40.7, 37.6)),
    "tiny": (41.4, (42.6, 39.1)),
    "small": (45.8, (46.6, 42.2)),
    "base": (47.7, (49.0, 43.8)),
    "large": (48.7, (49.4, 44.2)),
}
FINDERS: dict[str, Finder] = {}
for _size, (_retina, _mask) in _ON_COCO.items():
    _files = f"retinanet_moganet_{_size}_fpn_1x_coco.pth", f"mask_rcnn_moganet_{_size}_fpn_1x_coco.pth"
    FINDERS[f"moganet_{_size}.retinanet_coco"] = Finder(_files[0], _retina, head="retinanet")
    FINDERS[f"moganet_{_size}.maskrcnn_coco"] = Finder(_files[1], *_mask, head="maskrcnn")


@dataclass(frozen=True)
class Poser(Published):
    """A network for key points. ap, ar: OKS AP and AR, in per cent, on the boxes of a detector of 56.4 AP."""

    size: tuple[int, int]
    ap: float
    ar: float
    _: KW_ONLY
    head: str = "heatmap"
    folder: str = POSE
    data = "COCO"

    @property
    def accuracy(self) -> str:
        return f"AP {self.ap} %, AR {self.ar} %"


# On COCO's validation set with the flip test: AP and AR at 256x192, and at 384x288.
_POSES_ON_COCO = {
    ("xtiny", "xt"): ((72.1, 77.7), (74.7, 79.9)),
    ("tiny", "t"): ((73.2, 78.8), (75.7, 80.9)),
    ("small", "s"): ((74.9, 80.1), (76.4, 81.4)),
    ("base", "b"): ((75.3, 80.7), (77.3, 82.2)),
}
POSERS: dict[str, Poser] = {
    f"moganet_{_size}.coco_pose_{_height}x{_width}": Poser(
        f"moganet_{_short}_coco_{_height}x{_width}.pth", (_height, _width), *_figures
    )
    for (_size, _short), _both in _POSES_ON_COCO.items()
    for (_height, _width), _figures in zip(((256, 192), (384, 288)), _both, strict=True)
}

PUBLISHED: dict[str, Published] = {**RELEASES, **SEGMENTERS, **FINDERS, **POSERS}


@dataclass(frozen=True)
class Shipped:
    """A small model in the package, of a shape of its own. options: of the network; size: pixels; the rest: timm's."""

    num_classes: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    options: dict[str, Any] = field(default_factory=dict)
    trained_on: str = ""

    @property
    def channels(self) -> int:
        """Give the number of an image's channels."""
        return len(self.mean)


SHIPPED_FOLDER = Path(__file__).parents[1] / "models" / "shipped"
# What timm must know before any of these files is read; tests hold it to what the files say of themselves.
SHIPPED: dict[str, Shipped] = {
    "moganet_nano.cifar10": Shipped(
        num_classes=10,
        size=32,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.247, 0.2435, 0.2616),
        options={
            "embed_dims": (32, 96, 128, 160),
            "depths": (1, 3, 2, 1),
            "mlp_ratios": (4, 4, 4, 2),
            "stem_stride": 2,
        },
        trained_on="CIFAR-10",
    ),
    "moganet_nano.digits": Shipped(
        num_classes=10,
        size=32,
        mean=(0.31,),
        std=(0.35,),
        options={"embed_dims": (16, 24, 32, 48), "depths": (1, 1, 2, 1)},
        trained_on="scikit-learn's digits",
    ),
}


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "fixed_input_size": False,
        "pool_size": (7, 7),
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "first_conv": "patch_embed1.projection.0",
        "classifier": "head",
        "license": "apache-2.0",
        "paper_ids": "arXiv:2211.03295",
        "paper_name": "MogaNet: Multi-order Gated Aggregation Network",
        "origin_url": OFFICIAL.partition("/releases/")[0],
        **kwargs,
    }


def _release_cfg(release: Release) -> dict[str, Any]:
    return _cfg(
        url=release.url,
        custom_load=True,  # by MogaNet.load_pretrained, which knows the formats
        input_size=(3, release.size, release.size),
        pool_size=(release.size // 32, release.size // 32),
        origin_url=release.folder.partition("/releases/")[0],
        description=f"top-1 {release.top1} % on ImageNet-1k, {release.weights} weights, {release.gate} gate",
    )


def _shipped_cfg(name: str, shipped: Shipped) -> dict[str, Any]:
    return _cfg(
        file=str(SHIPPED_FOLDER / f"{name}.safetensors"),
        custom_load=True,
        num_classes=shipped.num_classes,
        input_size=(shipped.channels, shipped.size, shipped.size),
        pool_size=None,
        mean=shipped.mean,
        std=shipped.std,
        crop_pct=1.0,
        crop_mode="squash",
        interpolation="bilinear",
        origin_url=None,
        description=f"trained on {shipped.trained_on}, in the package",
    )


_released = {name.partition(".")[0] for name in RELEASES}
# As timm has them, by VARIANT.TAG.
CONFIGURATIONS: dict[str, dict[str, Any]] = (
    {name: _release_cfg(release) for name, release in RELEASES.items()}
    | {name: _shipped_cfg(name, shipped) for name, shipped in SHIPPED.items()}
    # The star makes it what the bare name stands for: the shipped ones have shapes of their own.
    | {f"{name}.untrained*": _cfg() for name in VARIANTS if name not in _released}
)


def configuration_of(name: str) -> dict[str, Any]:
    """Give the configuration of a release, or of a variant's first one."""
    variant = name.partition(".")[0]
    every = (cfg for known, cfg in CONFIGURATIONS.items() if known.partition(".")[0] == variant and cfg["url"])
    return CONFIGURATIONS.get(name) or next(every, _cfg())


class Loaders(NamedTuple):
    """What the variants need of the room above them: to have a release's file, and to read one into a network."""

    fetch: Callable[[str, Path | None], Path]
    read: Callable[["nn.Module", Path, str | None], None]


connected: list[Loaders] = []  # `import moganet` puts its own here


def loaders() -> Loaders:
    """Give what `import moganet` connected."""
    assert connected, "import moganet, not a part of it"
    return connected[-1]
