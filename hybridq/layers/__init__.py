"""Torch modules with quantum circuits inside."""

from hybridq.layers.attention import Attention, QuantumAttention
from hybridq.layers.evaluation import evaluate_circuits, evaluate_together, to_backend
from hybridq.layers.fourier import FourierForm, series
from hybridq.layers.fused.attention import fourier_attention
from hybridq.layers.options import QuantumOptions

__all__ = [
    "Attention",
    "FourierForm",
    "QuantumAttention",
    "QuantumOptions",
    "evaluate_circuits",
    "evaluate_together",
    "fourier_attention",
    "series",
    "to_backend",
]
