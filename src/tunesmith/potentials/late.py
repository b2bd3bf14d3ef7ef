"""Packages whose ``__init__`` waits until something of it is asked for.

Importing one module of a package runs the package's ``__init__`` first, with all that it imports:
of mace.tools the training loop, plots, statistics and a compiler; of e3nn.io a signal-processing
library. Their modules that a model needs do without. The package is one object throughout, filled
in where something else of it is asked for, so that whoever uses it sees what it always was.
"""

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from threading import RLock
from types import ModuleType
from typing import Any

#: names by which the import system asks for all of a package: a module of it, ``import *``
_OF_ALL = ("__path__", "__all__")


class _Late(ModuleType):
    """A package of which nothing but the place is known yet."""

    def __init__(self, spec: ModuleSpec, homes: Mapping[str, str]) -> None:
        super().__init__(spec.name)
        self.__spec__, self.__loader__, self.__package__ = spec, spec.loader, spec.name
        self.__file__ = spec.origin
        self.__dict__.update(_homes=dict(homes), _waits=True, _one=RLock())
        if homes:  # else its place is asked for where a module of it is imported: then with all
            self.__path__ = list(spec.submodule_search_locations or ())

    def __getattr__(self, name: str) -> Any:
        """Asked for only what is not there yet."""
        known = self.__dict__
        if name.startswith("__") and name not in _OF_ALL:  # of who only looks what this is
            raise _missing(self, name)
        if known["_waits"] and name in known["_homes"]:
            return getattr(
                importlib.import_module(f"{self.__name__}.{known['_homes'][name]}"), name
            )
        with known["_one"]:  # another thread may be at it
            if known["_waits"]:
                self._begin()
        if name not in known:
            raise _missing(self, name)
        return known[name]

    def _begin(self) -> None:
        """Run the package's ``__init__``, as the import of it would have."""
        spec = self.__spec__
        assert spec is not None
        assert spec.loader is not None
        self.__dict__["_waits"] = False
        self.__path__ = list(spec.submodule_search_locations or ())
        try:
            spec.loader.exec_module(self)
        except BaseException:  # as a failed import: tried again when it is asked for again
            self.__dict__["_waits"] = True
            raise


def _missing(package: ModuleType, name: str) -> AttributeError:
    return AttributeError(f"module {package.__name__!r} has no attribute {name!r}")


def postpone(name: str, homes: Mapping[str, str]) -> None:
    """Let the ``__init__`` of the package ``name`` wait; nothing where it has been imported.

    homes: names that it offers and that are wanted without it → the module of it that defines them.
    """
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    sys.modules[name] = package = _Late(spec, homes)
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, package)
