"""The same circuits on several backends: deviations, statistics, what they do to a trained model, and cost."""

from hybridq.comparison.comparing import CompareOptions, compare
from hybridq.comparison.result import BackendResult, Comparison

__all__ = ["BackendResult", "CompareOptions", "Comparison", "compare"]
