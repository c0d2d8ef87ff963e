"""`evaluate`: a circuit at a batch of points, differentiable."""

import torch
from torch import Tensor

from hybridq.circuits import Circuit
from hybridq.engine.arguments import check_arguments
from hybridq.engine.choice import MAX_QUBITS, Engine
from hybridq.engine.eager import flattened, run_eagerly
from hybridq.engine.once import refuse_transforms
from hybridq.engine.operator import traced
from hybridq.errors import InvalidArgument

__all__ = ["evaluate"]


def evaluate(circuit: Circuit, inputs: Tensor, weights: Tensor, engine: Engine = "auto") -> Tensor:
    """Run a circuit exactly at a batch of points.

    Args:
        circuit: The circuit; at most `MAX_QUBITS` qubits.
        inputs: Shape (batch, n_inputs), radians, float32 or float64.
        weights: Shape `weight_shape`, or (sets, *weight_shape) where each set serves batch / sets
            points in a row; radians, same dtype and device.
        engine: "native" for the compiled kernels, which run on CPUs; "torch"; or "auto", which
            takes the kernels where it can.

    Returns:
        Shape (batch, n_outputs). Differentiable once towards inputs and weights. On CUDA, float32
        angles are products that `torch.set_float32_matmul_precision` governs: below "highest"
        (TF32) they have three digits; use float64 there.

    Raises:
        InvalidArgument: If the circuit has more than `MAX_QUBITS` qubits, a shape, dtype or device
            does not fit, or the sets do not divide the batch.
        NonAffineAngle: If the circuit cannot be traced.
        BackendUnavailable: If native kernels are asked for and there are none.
        NotDifferentiable: Inside of torch.func (vmap, grad, jvp). In a backward pass through a
            gradient, if a second derivative is asked for.
    """
    if circuit.n_qubits > MAX_QUBITS:
        limit = f"the engine runs at most {MAX_QUBITS} qubits"
        reason = f"{limit}; use fewer, or backend='lightning.qubit'"
        raise InvalidArgument.of("n_qubits", circuit.n_qubits, reason)
    refuse_transforms("give a batch of points and sets of weights, and use torch.autograd.grad")
    check_arguments(circuit, inputs, weights)
    if torch.compiler.is_compiling():
        return traced(circuit, inputs, flattened(circuit, weights), engine)
    return run_eagerly(circuit, inputs, weights, engine)
