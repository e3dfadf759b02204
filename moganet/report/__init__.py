"""Pictures of runs and results (matplotlib, drawn without a display)."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moganet.report.curves import draw_curves
    from moganet.report.grids import GridItem, check_picture_name, draw_grid

__all__ = ["GridItem", "check_picture_name", "draw_curves", "draw_grid"]


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for, and matplotlib with it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"moganet.report.{'curves' if name == 'draw_curves' else 'grids'}"), name)
