"""The folders are the registries: a name is the name of a file.

`load("circuits", "ry_rz_cnot")` imports the file `ry_rz_cnot.py` of the room `hybridq.circuits` and
returns the class that this file offers, which is the first name of its `__all__`; data sets offer a
function. Files whose names begin with an underscore are the room's own and have no name here.
`"package.module:Class"` is accepted wherever a name is, so that a class of your own needs no
registration.
"""

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path
from typing import Any

from hybridq.errors import HybridqError, InvalidArgument, UnknownName

__all__ = ["load", "load_object", "names"]

_CHECKOUT = Path(__file__).resolve().parents[1]  # where hybridq lies, if it is one
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
    """Return the class, or for data sets the function, that a room's file offers.

    Args:
        room: A folder of hybridq, for example "circuits" or "layers.scores".
        name: The file's name, or "package.module:Class" for a class of your own.

    Returns:
        The class or the function.

    Raises:
        UnknownName: If the room has no such file, or the module no such class. The message lists
            the nearest names.
        InvalidArgument: If there is no such module, importing it fails, or the file has no
            `__all__`.

    Example:
        >>> load("circuits", "ry_rz_cnot").__name__
        'RyRzCnot'
    """
    known = names(room)
    kind = _KINDS[room]
    if ":" in name:
        return load_object(kind, name)
    if name not in known:
        raise UnknownName.among(kind, name, known)
    module = _import(kind, name, f"hybridq.{room}.{name}")
    offered = vars(module).get("__all__")
    if not offered:
        reason = "its file has no __all__; write one whose first name is what the file offers"
        raise InvalidArgument.of(kind, name, reason)
    return vars(module)[offered[0]]


def load_object(kind: str, path: str) -> Any:
    """Import the object that a path names.

    Args:
        kind: The word for the object in messages, for example "backend" or "loader".
        path: The path, "package.module:Class" or "package.module:function".

    Returns:
        The class or the function.

    Raises:
        UnknownName: If the module has no such name. The message lists the nearest ones.
        InvalidArgument: If the path has no colon, there is no such module, or importing it fails.

    Example:
        >>> load_object("loader", "hybridq.seeding:derive").__name__
        'derive'
    """
    module_name, colon, attribute = path.partition(":")
    if not colon:
        raise InvalidArgument.of(kind, path, "write package.module:name")
    if not _is_there(module_name):
        reason = f"there is no module {module_name!r}; is it on the Python path?"
        raise InvalidArgument.of(kind, path, reason)
    offered = vars(_import(kind, path, module_name))
    if attribute not in offered:
        word = "class" if kind in _KINDS.values() else kind
        known = [name for name in offered if _is_offered(name, offered[name], word)]
        raise UnknownName.among(f"{word} of {module_name}", attribute, known)
    return offered[attribute]


def _is_there(module_name: str) -> bool:
    """Return whether a module can be imported, from a checkout of hybridq in any folder, too."""
    package = module_name.partition(".")[0]
    in_checkout = package == "experiments" and (_CHECKOUT / package / "__init__.py").exists()
    if in_checkout and str(_CHECKOUT) not in sys.path:
        # The experiments are no part of what is installed, and runs name their loaders.
        sys.path.append(str(_CHECKOUT))
    try:
        return importlib.util.find_spec(module_name) is not None
    except (ModuleNotFoundError, ValueError):
        return False


def _is_offered(name: str, value: Any, word: str) -> bool:
    """Tell what a message lists: classes, or whatever can be called."""
    if word == "class":
        return name[:1].isupper()
    return callable(value) and not name.startswith("_")


def _import(kind: str, name: str, module_name: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except HybridqError:  # for example, a missing extra
        raise
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        reason = f"importing it fails with {cause}; repair that module, or choose another"
        raise InvalidArgument.of(kind, name, reason) from error
