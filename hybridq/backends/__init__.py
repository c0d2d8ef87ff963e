"""Where circuits run: one file each, one contract. `resolve("aer")` gives a backend by its name."""

from hybridq.backends._core.contract import AbstractBackend, Capabilities
from hybridq.backends._core.resolve import available, resolve

__all__ = ["AbstractBackend", "Capabilities", "available", "resolve"]
