"""The variants as timm knows them, with the configurations of their weights; imported as soon as timm is there.

To add one: an entry in VARIANTS (variants.py), and a function below.
"""

from pathlib import Path
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import (
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
    register_notrace_module,
    resolve_pretrained_cfg,
)

from moganet.network.blocks import GatedProjection
from moganet.network.depthwise import DepthwiseConv2d
from moganet.network.moganet import MogaNet
from moganet.network.releases import OFFICIAL, RELEASES, Release, loaders
from moganet.network.variants import VARIANTS

# Symbolic tracers must not look inside: the arithmetic depends on the input's type or size.
for module in (GatedProjection, DepthwiseConv2d):
    register_notrace_module(module)


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "fixed_input_size": False,
        "pool_size": (7, 7),
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
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
default_cfgs = generate_default_cfgs(
    {name: _release_cfg(release) for name, release in RELEASES.items()}
    | {f"{name}.untrained": _cfg() for name in VARIANTS if name not in _released}
)


def _with_release(variant: str, pretrained: bool, options: dict[str, Any]) -> dict[str, Any]:
    """Let a released file bring its gate, and its place on this machine where its weights are asked for."""
    overlay = options.get("pretrained_cfg_overlay") or {}
    cfg = resolve_pretrained_cfg(variant, options.get("pretrained_cfg"), overlay)
    release = RELEASES.get(f"{variant}.{cfg.tag}")
    if release is None or cfg.url != release.url:
        return options
    if pretrained and not (cfg.file or cfg.state_dict):
        folder = options.get("cache_dir")
        path = loaders().fetch(f"{variant}.{cfg.tag}", Path(folder) if folder else None)
        options["pretrained_cfg_overlay"] = {**overlay, "file": str(path), "custom_load": True}
    return {"gate": release.gate, **options}


def _create(variant: str, pretrained: bool, **kwargs: Any) -> MogaNet:
    kwargs = _with_release(variant, pretrained, kwargs)
    features = {"out_indices": (0, 1, 2, 3), "feature_cls": "getter", **kwargs.pop("feature_cfg", {})}
    options = {**VARIANTS[variant], **kwargs}
    network: MogaNet = build_model_with_cfg(MogaNet, variant, pretrained, feature_cfg=features, **options)
    return network


@register_model
def moganet_nano(pretrained: bool = False, **kwargs: Any) -> MogaNet:
    """Build moganet_nano: ours, for small images: 1.5 M parameters, 1.3 M with 10 classes."""
    return _create("moganet_nano", pretrained, **kwargs)


@register_model
def moganet_xtiny(pretrained: bool = False, **kwargs: Any) -> MogaNet:
    """Build MogaNet-XT: 3.0 M parameters."""
    return _create("moganet_xtiny", pretrained, **kwargs)


@register_model
def moganet_tiny(pretrained: bool = False, **kwargs: Any) -> MogaNet:
    """Build MogaNet-T: 5.2 M parameters."""
    return _create("moganet_tiny", pretrained, **kwargs)


@register_model
def moganet_small(pretrained: bool = False, **kwargs: Any) -> MogaNet:
    """Build MogaNet-S: 25.3 M parameters."""
    return _create("moganet_small", pretrained, **kwargs)


@register_model
def moganet_base(pretrained: bool = False, **kwargs: Any) -> MogaNet:
    """Build MogaNet-B: 43.7 M parameters."""
    return _create("moganet_base", pretrained, **kwargs)


@register_model
def moganet_large(pretrained: bool = False, **kwargs: Any) -> MogaNet:
    """Build MogaNet-L: 82.5 M parameters."""
    return _create("moganet_large", pretrained, **kwargs)


@register_model
def moganet_xlarge(pretrained: bool = False, **kwargs: Any) -> MogaNet:
    """Build MogaNet-XL: 181.0 M parameters."""
    return _create("moganet_xlarge", pretrained, **kwargs)
