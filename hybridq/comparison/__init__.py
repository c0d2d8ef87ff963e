"""The same circuits on several backends: deviations, statistics, a trained model, and cost."""

from hybridq.comparison.backend_result import BackendResult
from hybridq.comparison.comparing import compare
from hybridq.comparison.options import CompareOptions
from hybridq.comparison.result import Comparison

__all__ = ["BackendResult", "CompareOptions", "Comparison", "compare"]
