"""hybridq: train neural networks with quantum circuits inside.

Loads torch and PennyLane; Qiskit, transformers and matplotlib only when something asks for them.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("hybridq-toolkit")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
