"""A run's configuration: descriptions, the sections of a recipe, and how one is read."""

from moganet.config.descriptions import (
    DEVICE,
    DEVICES,
    MAX_CHANNELS,
    Architecture,
    ChannelAggregation,
    ConvInit,
    Gate,
    Precision,
    Preprocessing,
)
from moganet.config.heads import (
    BoxHead,
    BoxHeads,
    CascadeHead,
    FpnHead,
    Head,
    HeatmapHead,
    MapsHead,
    MaskRcnnHead,
    PixelHead,
    PixelHeads,
    PoseHeads,
    RetinaHead,
    RoiHead,
    SmpHead,
    UperHead,
)
from moganet.config.load import (
    RECIPE_LIMIT,
    flat,
    list_recipes,
    parse_overrides,
    parse_yaml,
    read_recipe,
    sets,
    unfolded,
    validate,
)
from moganet.config.recipe import (
    AugmentConfig,
    DataConfig,
    LossSettings,
    MapsSettings,
    OptimizerConfig,
    Recipe,
    ResolvedRecipe,
    ScheduleConfig,
    TaskSettings,
)
from moganet.config.settings import Fraction, Settings, told
from moganet.config.short_options import OPTIONS, SHORT, ShortOptions, refuse_two, with_short

__all__ = ["MAX_CHANNELS", "Architecture", "ChannelAggregation", "ConvInit", "Fraction", "Gate", "Precision"]
__all__ += ["AugmentConfig", "DataConfig", "LossSettings", "OptimizerConfig", "Preprocessing", "Recipe", "Settings"]
__all__ += ["MapsSettings", "ResolvedRecipe", "ScheduleConfig", "TaskSettings"]
__all__ += ["RECIPE_LIMIT", "list_recipes", "parse_overrides", "parse_yaml", "read_recipe", "sets", "unfolded"]
__all__ += ["flat", "validate"]
__all__ += ["DEVICE", "DEVICES", "OPTIONS", "SHORT", "ShortOptions", "refuse_two", "told", "with_short"]
__all__ += ["FpnHead", "Head", "HeatmapHead", "MapsHead", "PixelHead", "PixelHeads", "PoseHeads", "SmpHead", "UperHead"]
__all__ += ["BoxHead", "BoxHeads", "CascadeHead", "MaskRcnnHead", "RetinaHead", "RoiHead"]
