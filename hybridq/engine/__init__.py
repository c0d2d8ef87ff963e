"""The batched state-vector engine.

It traces a circuit once into a short program, and runs this program at all points of a batch
together.
"""

from hybridq.engine.arguments import check_arguments, check_coefficient_arguments, not_finite
from hybridq.engine.choice import MAX_QUBITS, Engine, choose, full_precision
from hybridq.engine.evaluation import evaluate
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
