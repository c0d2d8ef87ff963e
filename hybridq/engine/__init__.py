"""The batched state-vector engine: a circuit traced once into a short program, run by torch with all lanes together."""

from hybridq.engine.evaluate import MAX_QUBITS, evaluate, full_precision
from hybridq.engine.program import Program, compile_circuit

__all__ = ["MAX_QUBITS", "Program", "compile_circuit", "evaluate", "full_precision"]
