"""Pictures of runs and results (matplotlib, drawn without a display)."""

from moganet.report.confusion import draw_confusion
from moganet.report.curves import draw_curves
from moganet.report.grids import GridItem, draw_grid

__all__ = ["GridItem", "draw_confusion", "draw_curves", "draw_grid"]
