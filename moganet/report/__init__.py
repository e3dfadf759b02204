"""Pictures of runs and results (matplotlib, drawn without a display)."""

from moganet.report.curves import draw_curves
from moganet.report.grids import GridItem, check_picture_name, draw_grid

__all__ = ["GridItem", "check_picture_name", "draw_curves", "draw_grid"]
