"""A circuit evaluated outside of a compiled graph, by the kernels where they can, else by torch."""

from torch import Tensor

from hybridq.circuits import Circuit
from hybridq.engine.choice import Engine, kernels_for
from hybridq.engine.compiled import run_circuit
from hybridq.engine.torch_evaluation import run_by_torch

__all__ = ["flattened", "run_eagerly"]


def run_eagerly(circuit: Circuit, inputs: Tensor, weights: Tensor, engine: Engine) -> Tensor:
    """Run a circuit at a batch of points; see `evaluate`, which checks the arguments.

    Args:
        circuit: The circuit.
        inputs: Shape (batch, n_inputs), radians.
        weights: Shape `weight_shape`, or (sets, *weight_shape); radians.
        engine: "auto", "native" or "torch".

    Returns:
        Shape (batch, n_outputs). Differentiable once.
    """
    kernels = kernels_for(engine, inputs)
    if kernels is not None:
        return run_circuit(kernels, circuit, inputs, weights)
    return run_by_torch(circuit, inputs, flattened(circuit, weights))


def flattened(circuit: Circuit, weights: Tensor) -> Tensor:
    """Return weights whose axes of `weight_shape` are one; an axis of sets before them stays."""
    return weights.flatten(weights.ndim - len(circuit.weight_shape))
