"""The variants as timm knows them, with the configurations of their weights; imported as soon as timm is there."""

from pathlib import Path
from typing import Any

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
from moganet.network.releases import CONFIGURATIONS, RELEASES, SHIPPED, loaders
from moganet.network.variants import VARIANTS

# Symbolic tracers must not look inside: the arithmetic depends on the input's type or size.
for module in (GatedProjection, DepthwiseConv2d):
    register_notrace_module(module)


default_cfgs = generate_default_cfgs(CONFIGURATIONS)


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


def register(variant: str) -> None:
    """Make a variant known to timm by its name."""

    def build(pretrained: bool = False, **kwargs: Any) -> MogaNet:
        return _create(variant, pretrained, **kwargs)

    build.__name__ = build.__qualname__ = variant
    build.__doc__ = f"Build {variant}, with timm's options and MogaNet's."
    register_model(build)


for variant in VARIANTS:
    register(variant)
