"""The folders are the registries: a name is the name of a file.

`load("circuits", "ry_rz_cnot")` imports `hybridq/circuits/ry_rz_cnot.py` and returns the class that
this file offers, which is the first name of its `__all__`. Files whose names begin with an
underscore are the room's own and have no name here. `"package.module:Class"` is accepted wherever a
name is, so that a class of your own needs no registration.
"""

import importlib
import importlib.util
import pkgutil
from typing import Any

from hybridq.errors import HybridqError, InvalidArgument, UnknownName

__all__ = ["load", "names"]

_KINDS = {
    "backends": "backend",
    "circuits": "ansatz",
    "circuits.readouts": "readout",
    "comparison.metrics": "metric",
    "layers.scores": "score",
    "optim": "optimizer",
    "study.data": "data set",
}


def names(room: str) -> list[str]:
    """List the names that `load` knows in a room, without importing any of its files.

    Args:
        room: A folder of hybridq, for example "circuits" or "layers.scores".

    Returns:
        The names, sorted.

    Raises:
        UnknownName: If there is no such room.
    """
    if room not in _KINDS:
        raise UnknownName.among("room", room, _KINDS)
    package = importlib.import_module(f"hybridq.{room}")
    files = [module for module in pkgutil.iter_modules(package.__path__) if not module.ispkg]
    return sorted(file.name for file in files if not file.name.startswith("_"))


def load(room: str, name: str) -> Any:
    """Return the class that a room's file offers.

    Args:
        room: A folder of hybridq, for example "circuits" or "layers.scores".
        name: The file's name, or "package.module:Class" for a class of your own.

    Returns:
        The class.

    Raises:
        UnknownName: If the room has no such file, or the module no such class. The message lists
            the nearest names.
        InvalidArgument: If there is no such module, or importing it fails.

    Example:
        >>> load("circuits", "ry_rz_cnot").__name__
        'RyRzCnot'
    """
    known = names(room)
    if ":" in name:
        return _load_path(_KINDS[room], name)
    if name not in known:
        raise UnknownName.among(_KINDS[room], name, known)
    module = _import(_KINDS[room], name, f"hybridq.{room}.{name}")
    return getattr(module, module.__all__[0])


def _load_path(kind: str, path: str) -> Any:
    module_name, _, attribute = path.partition(":")
    try:
        found = importlib.util.find_spec(module_name)
    except (ModuleNotFoundError, ValueError):
        found = None
    if found is None:
        raise InvalidArgument.of(
            kind, path, f"there is no module {module_name!r}; is it on the Python path?"
        )
    module = _import(kind, path, module_name)
    if attribute not in vars(module):
        public = [n for n, value in vars(module).items() if n[:1].isalpha() and callable(value)]
        raise UnknownName.among(f"class of {module_name}", attribute, public)
    return vars(module)[attribute]


def _import(kind: str, name: str, module_name: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except HybridqError:  # a missing extra, say
        raise
    except Exception as error:
        reason = f"importing it fails with {type(error).__name__}: {error}; repair that module, or choose another"
        raise InvalidArgument.of(kind, name, reason) from error
