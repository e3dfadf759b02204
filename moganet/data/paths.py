"""What lies at a path. Unlike pathlib's, os.path's questions raise for no name at all, however odd."""

from os.path import exists
from os.path import isdir as is_folder
from os.path import isfile as is_file

__all__ = ["exists", "is_file", "is_folder"]
