"""hybridq: train neural networks with quantum circuits inside.

`import hybridq` loads torch and PennyLane at most. The rooms, such as `hybridq.layers`, load when
they are first named; Qiskit, transformers and matplotlib load only when something asks for them.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # type checkers see all of it at once
    from hybridq import (
        backends,
        catalogue,
        circuits,
        comparison,
        engine,
        errors,
        layers,
        native,
        optim,
        seeding,
        study,
    )
    from hybridq.comparison import compare

try:
    __version__ = version("hybridq-toolkit")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0+unknown"

__all__ = [
    "__version__",
    "backends",
    "catalogue",
    "circuits",
    "compare",
    "comparison",
    "engine",
    "errors",
    "layers",
    "native",
    "optim",
    "seeding",
    "study",
]


def __getattr__(name: str) -> Any:
    """Load a room when it is first named; `hybridq.compare` is the function of its room."""
    if name == "compare":
        return import_module("hybridq.comparison").compare
    if name in __all__:
        return import_module(f"hybridq.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the rooms, loaded or not."""
    return sorted({*globals(), *__all__})
