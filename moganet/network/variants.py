"""The paper's variants (table 1) and ours, by name, without torch. To add one: an entry in VARIANTS."""

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from moganet.errors import did_you_mean

if TYPE_CHECKING:
    from moganet.network.moganet import MogaNet


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
# Options that only timm's making of a network knows.
TIMMS = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "features_only", "feature_cfg", "out_indices"}
TIMMS |= {"checkpoint_path", "cache_dir", "scriptable", "exportable", "no_jit", "pretrained_strict"}
ALIASES = dict(zip(SHORT_NAMES, VARIANTS, strict=False))


def full_name(name: str) -> str:
    """Give a variant's full name for itself, for the article's short name (xt t s b l xl), or for "tiny"."""
    lower = name.lower()
    return ALIASES.get(lower, f"moganet_{lower}" if f"moganet_{lower}" in VARIANTS else name)


def variant_of_shape(embed_dims: Sequence[int], depths: Sequence[int], mlp_ratios: Sequence[float]) -> str | None:
    """Give the variant that has these widths, depths and ratios, or None."""
    shape = {"embed_dims": tuple(embed_dims), "depths": tuple(depths), "mlp_ratios": tuple(mlp_ratios)}
    return next((name for name, known in VARIANTS.items() if known == shape), None)


def shape_of(name: str) -> dict[str, Any]:
    """Give a variant's widths, depths and ratios by name or short name. Raises ValueError for an unknown one."""
    if (variant := full_name(name)) not in VARIANTS:
        short = [variant.removeprefix("moganet_") for variant in VARIANTS]
        what = f"there is no variant {name!r}; {did_you_mean(name, [*VARIANTS, *short])}"
        raise ValueError(f"{what}choose one of {', '.join(VARIANTS)} ({' '.join(ALIASES)})")
    return VARIANTS[variant]


def build_network(name: str, **options: Any) -> "MogaNet":
    """Build a variant by name or short name, with MogaNet's options or timm's. Raises ValueError for an unknown one."""
    variant, shape = full_name(name), shape_of(name)
    network: MogaNet
    if options.keys() & TIMMS:
        network = importlib.import_module("timm").create_model(variant, **options)
    else:
        given = {key: value for key, value in options.items() if value is not None}
        network = importlib.import_module("moganet.network.moganet").MogaNet(**{**shape, **given})
        network.variant = variant
    return network
