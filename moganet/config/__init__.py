"""A run's configuration: descriptions, the sections of a recipe, and how one is read."""

from moganet.config.descriptions import (
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
from moganet.config.load import RECIPE_LIMIT, list_recipes, load_recipe, parse_yaml, validate
from moganet.config.recipe import AugmentConfig, DataConfig, LossConfig, OptimizerConfig, Recipe, ScheduleConfig

__all__ = [
    "MAX_CHANNELS",
    "RECIPE_LIMIT",
    "Architecture",
    "AugmentConfig",
    "ChannelAggregation",
    "ConvInit",
    "DataConfig",
    "Fraction",
    "Gate",
    "LossConfig",
    "OptimizerConfig",
    "Precision",
    "Preprocessing",
    "Recipe",
    "ScheduleConfig",
    "Settings",
    "list_recipes",
    "load_recipe",
    "parse_yaml",
    "validate",
]
