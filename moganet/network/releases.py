"""The released weights that have names: where each file lies, and what it holds.

They stand here and not beside the downloads, since timm takes the configurations of a variant's weights when it is
registered. Top-1 accuracies are the published ones, on ImageNet-1k's validation set at the given size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from moganet.network.variants import VARIANTS

if TYPE_CHECKING:
    from torch import nn

    from moganet.config import Gate

OFFICIAL = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-in1k-weights"
OPENMIXUP = "https://github.com/Westlake-AI/openmixup/releases/download/moganet-in1k-weights"


@dataclass(frozen=True)
class Release:
    """A released file. size: pixels, of height and width. top1: in per cent. weights: those that the top-1 is of."""

    file: str
    size: int
    top1: float
    weights: Literal["plain", "ema"]
    gate: "Gate" = "single"
    folder: str = OFFICIAL

    @property
    def accuracy(self) -> str:
        """Say what was published of it."""
        return f"top-1 {self.top1} %"

    @property
    def url(self) -> str:
        """Give the file's address."""
        return f"{self.folder}/{self.file}"


RELEASES: dict[str, Release] = {
    "moganet_xtiny.in1k": Release("moganet_xtiny_sz224_8xbs128_ep300.pth.tar", 224, 76.5, "plain"),
    "moganet_xtiny.in1k_256": Release("moganet_xtiny_sz256_8xbs128_ep300.pth.tar", 256, 77.2, "plain"),
    "moganet_tiny.in1k": Release("moganet_tiny_sz224_8xbs128_ep300.pth.tar", 224, 79.0, "plain"),
    "moganet_tiny.in1k_256": Release("moganet_tiny_sz256_8xbs128_ep300.pth.tar", 256, 79.6, "plain"),
    "moganet_tiny.openmixup_in1k_256": Release(
        "moga_tiny_deit3_sz256_lr2e_3_8xb128_fp16_ep300.pth", 256, 80.0, "plain", "double", OPENMIXUP
    ),
    "moganet_small.in1k": Release("moganet_small_sz224_8xbs128_ep300.pth.tar", 224, 83.4, "ema"),
    "moganet_base.in1k": Release("moganet_base_sz224_8xbs128_ep300.pth.tar", 224, 84.3, "ema"),
    "moganet_large.in1k": Release("moganet_large_sz224_8xbs64_ep300.pth.tar", 224, 84.7, "ema"),
    "moganet_xlarge.in1k": Release("moganet_xlarge_sz224_8xbs64_ep300.pth.tar", 224, 85.1, "ema"),
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


_released = {name.partition(".")[0] for name in RELEASES}
# As timm has them, by VARIANT.TAG.
CONFIGURATIONS: dict[str, dict[str, Any]] = {name: _release_cfg(release) for name, release in RELEASES.items()} | {
    f"{name}.untrained": _cfg() for name in VARIANTS if name not in _released
}


def configuration_of(name: str) -> dict[str, Any]:
    """Give the configuration of a release, or of a variant's first one."""
    variant = name.partition(".")[0]
    every = (cfg for known, cfg in CONFIGURATIONS.items() if known.partition(".")[0] == variant)
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
