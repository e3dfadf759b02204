"""The paper's variants (table 1) and ours, registered with timm. To add one: an entry in VARIANTS, a function below."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model, resolve_pretrained_cfg

from moganet.network.moganet import MogaNet
from moganet.network.releases import OFFICIAL, RELEASES, SHIPPED, SHIPPED_FOLDER, Release, Shipped, loaders


def _shape(
    embed_dims: Sequence[int], depths: Sequence[int], mlp_ratios: Sequence[int] = (8, 8, 4, 4)
) -> dict[str, Any]:
    return {"embed_dims": tuple(embed_dims), "depths": tuple(depths), "mlp_ratios": tuple(mlp_ratios)}


VARIANTS: dict[str, dict[str, Any]] = {
    "moganet_nano": _shape((32, 64, 96, 192), (1, 1, 4, 1), (4, 4, 4, 4)),  # ours, not the paper's
    "moganet_xtiny": _shape((32, 64, 96, 192), (3, 3, 10, 2)),
    "moganet_tiny": _shape((32, 64, 128, 256), (3, 3, 12, 2)),
    "moganet_small": _shape((64, 128, 320, 512), (2, 3, 12, 2)),
    "moganet_base": _shape((64, 160, 320, 512), (4, 6, 22, 3)),
    "moganet_large": _shape((64, 160, 320, 640), (4, 6, 44, 4)),
    "moganet_xlarge": _shape((96, 192, 480, 960), (6, 6, 44, 4)),
}
OURS = ("moganet_nano",)  # variants that the paper does not have
SHORT_NAMES = ("nano", "xt", "t", "s", "b", "l", "xl")  # the article's, in the order of VARIANTS
ALIASES = dict(zip(SHORT_NAMES, VARIANTS, strict=False))


def full_name(name: str) -> str:
    """Give a variant's full name for itself, for the article's short name (xt t s b l xl), or for "tiny"."""
    lower = name.lower()
    return ALIASES.get(lower, f"moganet_{lower}" if f"moganet_{lower}" in VARIANTS else name)


def variant_of_shape(embed_dims: Sequence[int], depths: Sequence[int], mlp_ratios: Sequence[float]) -> str | None:
    """Give the variant that has these widths, depths and ratios, or None."""
    shape = {"embed_dims": tuple(embed_dims), "depths": tuple(depths), "mlp_ratios": tuple(mlp_ratios)}
    return next((name for name, known in VARIANTS.items() if known == shape), None)


def build_network(name: str, **options: Any) -> MogaNet:
    """Build a variant by name or short name, with MogaNet's options. Raises ValueError for an unknown one."""
    if full_name(name) not in VARIANTS:
        raise ValueError(f"there is no variant {name!r}; choose one of {', '.join(VARIANTS)} ({' '.join(ALIASES)})")
    network: MogaNet = timm.create_model(full_name(name), **options)
    return network


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
default_cfgs = generate_default_cfgs(
    {name: _release_cfg(release) for name, release in RELEASES.items()}
    | {name: _shipped_cfg(name, shipped) for name, shipped in SHIPPED.items()}
    # The star makes it what the bare name stands for: the shipped ones have shapes of their own.
    | {f"{name}.untrained*": _cfg() for name in VARIANTS if name not in _released}
)


def _with_release(variant: str, pretrained: bool, options: dict[str, Any]) -> dict[str, Any]:
    """Let a shipped file bring its shape; a released one its gate, and its place where its weights are asked for."""
    overlay = options.get("pretrained_cfg_overlay") or {}
    cfg = resolve_pretrained_cfg(variant, options.get("pretrained_cfg"), overlay)
    if (shipped := SHIPPED.get(f"{variant}.{cfg.tag}")) is not None:
        return {**shipped.options, **options}
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
