"""hybridq: train neural networks with quantum circuits inside.

Loads torch and PennyLane; Qiskit, transformers and matplotlib only when something asks for them.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("hybridq-toolkit")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0+unknown"

__all__ = ["__version__"]


def __getattr__(name: str) -> Any:
    """`hybridq.compare`, which loads the rooms below it when it is first asked for."""
    if name == "compare":
        return import_module("hybridq.comparison").compare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
