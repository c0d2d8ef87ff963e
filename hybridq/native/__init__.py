"""Compiled kernels, optional: the same work as torch does, in less time."""

from hybridq.native.library import Kernels, built, kernels, load, why_none

__all__ = ["Kernels", "built", "kernels", "load", "why_none"]
