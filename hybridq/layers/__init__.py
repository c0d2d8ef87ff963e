"""Torch modules with quantum circuits inside."""

from hybridq.circuits import FourierForm
from hybridq.layers.attending import attend
from hybridq.layers.attention import Attention
from hybridq.layers.circuit_module import AbstractCircuitModule, CircuitRequest
from hybridq.layers.evaluation import evaluate_circuits
from hybridq.layers.fused.attention import fourier_attention
from hybridq.layers.fused.series import FourierSeries, series
from hybridq.layers.given import circuits_given
from hybridq.layers.joint import circuit_modules, evaluate_together, to_backend
from hybridq.layers.options import QuantumOptions
from hybridq.layers.quantum_attention import QuantumAttention
from hybridq.layers.scores import AbstractScore, Elementwise

__all__ = [
    "AbstractCircuitModule",
    "AbstractScore",
    "Attention",
    "CircuitRequest",
    "Elementwise",
    "FourierForm",
    "FourierSeries",
    "QuantumAttention",
    "QuantumOptions",
    "attend",
    "circuit_modules",
    "circuits_given",
    "evaluate_circuits",
    "evaluate_together",
    "fourier_attention",
    "series",
    "to_backend",
]
