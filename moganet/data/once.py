"""A caller's data set, opened once for all that read it; nothing waits for torch where it is a name."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from moganet.errors import ConfigError

if TYPE_CHECKING:
    from moganet.data.in_python import ClassNames, Data


def open_once(
    data: "Data | None", class_names: "ClassNames | None" = None, otherwise: Sequence[str] = ()
) -> "Data | None":
    """Open a caller's data set, as `open_data` does; a source's name, a path and None are given as they are.

    Raises ConfigError for class_names without a set, DataError for a set that is none.
    """
    if class_names is None and (data is None or isinstance(data, str | os.PathLike)):
        return data
    if data is None:
        raise ConfigError("class_names are of a data set of your own; give it as data=")
    from moganet.data import open_data

    return open_data(data, class_names, otherwise=otherwise)
