"""What is imported later than it is named: a package's names when they are asked for, a module behind another's."""

import importlib
import importlib.abc
import sys
from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def from_homes(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Give a package's `__getattr__`: each name comes from its module, which is imported when the name is asked for."""

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(homes[name]), name)

    return get


class _Following(importlib.abc.MetaPathFinder):
    """Finds one package as the others do, and has a module imported behind it."""

    def __init__(self, package: str, module: str) -> None:
        self.package, self.module = package, module

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self.package:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next((spec for finder in others if (spec := finder.find_spec(name, path, target)) is not None), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_both(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                importlib.import_module(self.module)

        spec.loader.exec_module = execute_both  # type: ignore[method-assign]
        return spec


def import_behind(package: str, module: str) -> None:
    """Import a module as soon as a package is imported: now, where that is there already."""
    if package in sys.modules:
        importlib.import_module(module)
    else:
        sys.meta_path.insert(0, _Following(package, module))
