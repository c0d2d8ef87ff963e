"""The batched state-vector engine: a circuit traced once into a short program, run with all lanes together."""

from hybridq.engine.arguments import (
    check_arguments,
    check_coefficient_arguments,
    not_finite,
)
from hybridq.engine.evaluation import MAX_QUBITS, Engine, choose, evaluate, full_precision
from hybridq.engine.program import Program, compile_circuit

__all__ = [
    "MAX_QUBITS",
    "Engine",
    "Program",
    "check_arguments",
    "check_coefficient_arguments",
    "choose",
    "compile_circuit",
    "evaluate",
    "full_precision",
    "not_finite",
]
