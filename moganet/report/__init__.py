"""Pictures of runs and results (matplotlib, drawn without a display)."""

from typing import TYPE_CHECKING

from moganet.importing import from_homes

if TYPE_CHECKING:
    from moganet.report.curves import draw_curves
    from moganet.report.grids import GridItem, check_picture_name, draw_grid
    from moganet.report.labelled import Label, label_picture

__all__ = ["GridItem", "Label", "check_picture_name", "draw_curves", "draw_grid", "label_picture"]
_GRIDS = dict.fromkeys(("GridItem", "check_picture_name", "draw_grid"), "moganet.report.grids")
_LABELLED = dict.fromkeys(("Label", "label_picture"), "moganet.report.labelled")
# When a name is asked for, and matplotlib with it.
__getattr__ = from_homes(__name__, {"draw_curves": "moganet.report.curves", **_GRIDS, **_LABELLED})
