"""A run's configuration: descriptions, the sections of a recipe, and how one is read."""

from moganet.config.descriptions import (
    DEVICE,
    DEVICES,
    MAX_CHANNELS,
    Architecture,
    ChannelAggregation,
    ConvInit,
    Fraction,
    Gate,
    Precision,
    Preprocessing,
    Settings,
)
from moganet.config.load import RECIPE_LIMIT, list_recipes, on_device, parse_yaml, read_recipe, validate
from moganet.config.recipe import (
    AugmentConfig,
    DataConfig,
    LossSettings,
    OptimizerConfig,
    Recipe,
    ResolvedRecipe,
    ScheduleConfig,
    TaskSettings,
)

__all__ = ["MAX_CHANNELS", "Architecture", "ChannelAggregation", "ConvInit", "Fraction", "Gate", "Precision"]
__all__ += ["AugmentConfig", "DataConfig", "LossSettings", "OptimizerConfig", "Preprocessing", "Recipe", "Settings"]
__all__ += ["ResolvedRecipe", "ScheduleConfig", "TaskSettings"]
__all__ += ["DEVICE", "DEVICES", "RECIPE_LIMIT", "list_recipes", "on_device", "parse_yaml", "read_recipe", "validate"]
