"""What lies at a path. Unlike pathlib's, os.path's questions raise for no name at all, however odd."""

from os.path import exists
from os.path import isdir as is_folder
from os.path import isfile as is_file
from pathlib import Path

from moganet.files import typed_path

__all__ = ["exists", "is_file", "is_folder", "path_and_query"]


def path_and_query(text: str) -> tuple[Path, str]:
    """Divide PATH?QUERY; what lies at a name that holds a question mark is taken as it is."""
    whole = typed_path(text)
    if "?" not in text or exists(whole):  # noqa: PTH110 (pathlib's raises for odd names)
        return whole, ""
    name, _, query = text.rpartition("?")
    return typed_path(name), query
