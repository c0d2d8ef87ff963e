"""Compiled kernels, optional: the same work as torch does, in less time.

The C++ and, beside it, its bindings `circuits` and `attention`; `library` finds and loads it.
"""

from hybridq.native.library import Kernels, built, kernels, load, why_none

__all__ = ["Kernels", "built", "kernels", "load", "why_none"]
