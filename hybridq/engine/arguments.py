"""Checks of the arguments of an evaluation, for the engine and for every backend."""

from torch import Tensor

from hybridq.circuits import Circuit
from hybridq.errors import InvalidArgument

__all__ = ["check_arguments", "check_coefficient_arguments", "not_finite"]


def check_arguments(circuit: Circuit, inputs: Tensor, weights: Tensor) -> None:
    """Refuse inputs and weights that do not fit the circuit or each other.

    Args:
        circuit: The circuit.
        inputs: Shape (batch, n_inputs).
        weights: Shape `weight_shape`, or (sets, *weight_shape) where the number of sets divides the
            batch; same dtype and device.

    Raises:
        InvalidArgument: If one is no tensor, or a shape, dtype or device does not fit.
    """
    if not (isinstance(inputs, Tensor) and isinstance(weights, Tensor)):
        raise InvalidArgument.that(
            "inputs, weights",
            f"are of the types {type(inputs).__name__} and {type(weights).__name__}",
            "both must be a torch.Tensor; torch.as_tensor makes one",
        )
    if inputs.ndim != 2 or inputs.shape[1] != circuit.n_inputs:
        reason = f"the shape must be (batch, {circuit.n_inputs})"
        raise InvalidArgument.of("inputs", tuple(inputs.shape), reason)
    if not inputs.is_floating_point():
        reason = "angles are float32 or float64; convert with .float()"
        raise InvalidArgument.of("inputs.dtype", inputs.dtype, reason)
    if not _weights_fit(circuit, weights, len(inputs)):
        sets = f"(sets, ...) with sets that divide the batch of {len(inputs)} points"
        reason = f"the shape must be {circuit.weight_shape}, or {sets}"
        raise InvalidArgument.of("weights", tuple(weights.shape), reason)
    if weights.dtype != inputs.dtype or weights.device != inputs.device:
        reason = f"the inputs are {inputs.dtype} on {inputs.device}; move one of them"
        fault = f"are {weights.dtype} on {weights.device}"
        raise InvalidArgument.that("weights", fault, reason)


def check_coefficient_arguments(
    circuit: Circuit, weights: Tensor, readout: Tensor, gate: Tensor
) -> None:
    """Refuse the arguments of Fourier coefficients that do not fit the circuit or each other.

    Args:
        circuit: The circuit.
        weights: Shape (sets, *weight_shape).
        readout: Shape (sets, n_outputs), of the dtype and on the device of `weights`.
        gate: Shape (sets,), of the dtype and on the device of `weights`.

    Raises:
        InvalidArgument: If one is no tensor, or a shape, dtype or device does not fit.
    """
    for argument, tensor in (("weights", weights), ("readout", readout), ("gate", gate)):
        if not isinstance(tensor, Tensor):
            raise InvalidArgument.of(
                argument, type(tensor).__name__, "give a torch.Tensor; torch.as_tensor makes one"
            )
    if weights.ndim == 0 or weights.shape[1:] != circuit.weight_shape:
        shape = ("sets", *circuit.weight_shape)
        reason = f"the shape must be ({', '.join(map(str, shape))})"
        raise InvalidArgument.of("weights", tuple(weights.shape), reason)
    n_sets = weights.shape[0]
    for argument, tensor, shape in (
        ("readout", readout, (n_sets, circuit.n_outputs)),
        ("gate", gate, (n_sets,)),
    ):
        if tensor.shape != shape:
            reason = f"the shape must be {shape} for {n_sets} sets of weights"
            raise InvalidArgument.of(argument, tuple(tensor.shape), reason)
        if tensor.dtype != weights.dtype or tensor.device != weights.device:
            reason = f"the weights are {weights.dtype} on {weights.device}; move one of them"
            raise InvalidArgument.of(argument, f"{tensor.dtype} on {tensor.device}", reason)


def not_finite(argument: str) -> InvalidArgument:
    """Return the error that an angle raises that is NaN or infinite.

    Args:
        argument: The name of the argument that holds the angle.

    Returns:
        The error.
    """
    reason = "every angle must be a finite number of radians"
    return InvalidArgument.that(argument, "holds NaN or infinity", reason)


def _weights_fit(circuit: Circuit, weights: Tensor, batch: int) -> bool:
    if weights.shape == circuit.weight_shape:
        return True
    if weights.shape[1:] != circuit.weight_shape:
        return False
    n_sets = len(weights)
    return batch % n_sets == 0 if n_sets else batch == 0
