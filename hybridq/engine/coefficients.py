"""Fourier coefficients of a circuit by the compiled kernels: one call forward, one call backward.

The kernels run the 17 circuits of a head in microseconds, and with them the products by readout,
gate and Fourier transform. These products are of some dozens of numbers each. As nodes of
autograd's graph they would take ten times as long.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hybridq._torch import is_transformed
from hybridq.circuits import Circuit, FourierForm
from hybridq.engine.arguments import check_coefficient_arguments
from hybridq.engine.choice import MAX_QUBITS, Engine, choose, full_precision
from hybridq.engine.compiled import circuit_kernel
from hybridq.engine.once import ENGINE_WAY_OUT, differentiable_once, save_tensors, saved_tensors
from hybridq.engine.packing import READOUTS
from hybridq.native import Kernels
from hybridq.native.circuits import (
    DTYPES,
    CircuitKernel,
    SeriesArguments,
    call_backward,
    call_forward,
)

__all__ = ["fused_coefficients", "fused_kernels"]

_ORDINARY = (Tensor, nn.Parameter)


def fused_kernels(
    engine: Engine, circuit: Circuit, weights: Tensor, readout: Tensor, gate: Tensor
) -> Kernels | None:
    """Return the kernels that `fused_coefficients` can use for these arguments.

    Args:
        engine: The engine that was asked for.
        circuit: The circuit.
        weights: As `fused_coefficients`.
        readout: As `fused_coefficients`.
        gate: As `fused_coefficients`.

    Returns:
        The kernels. None where torch has to do the work: while compiling, inside of torch.func, for
        circuits or dtypes that the kernels do not know, and for tensors whose memory they cannot
        read.
    """
    if torch.compiler.is_compiling() or is_transformed():
        return None
    for tensor in (weights, readout, gate):
        if type(tensor) not in _ORDINARY or tensor.is_neg():
            return None
    if circuit.n_qubits > MAX_QUBITS or type(circuit.readout) not in READOUTS:
        return None
    return choose(engine, weights.device) if weights.dtype in DTYPES else None


def fused_coefficients(
    kernels: Kernels, circuit: Circuit, weights: Tensor, readout: Tensor, gate: Tensor
) -> Tensor:
    """Return the Fourier coefficients of gate * (readout . outputs) as a series in the input.

    Args:
        kernels: The kernels that `fused_kernels` returned.
        circuit: A circuit with one input.
        weights: Shape (sets, *weight_shape), radians.
        readout: Shape (sets, n_outputs).
        gate: Shape (sets,).

    Returns:
        Shape (sets, 2 D + 1). Differentiable once towards weights, readout and gate.

    Raises:
        UnsupportedEncoding: If the circuit has no Fourier form.
        InvalidArgument: If a shape, dtype or device does not fit, or a weight is NaN or infinite.
    """
    check_coefficient_arguments(circuit, weights, readout, gate)
    arguments = (kernels, circuit, weights, readout, gate)
    coefficients: Tensor = _Coefficients.apply(*arguments)  # type: ignore[no-untyped-call]
    return coefficients


class _Samples(NamedTuple):
    """The arguments of the kernels that depend on the circuit and the number of sets alone.

    Args:
        kernel: The packed circuit and the function that runs it.
        inputs: Shape (sets * samples, 1).
        transform: From the samples of a set to its coefficients, shape (samples, 2 D + 1).
    """

    kernel: CircuitKernel
    inputs: Tensor
    transform: Tensor


@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # a tensor made in inference mode could never be used in training
def _samples(kernels: Kernels, circuit: Circuit, n_sets: int, dtype: torch.dtype) -> _Samples:
    form = FourierForm.of(circuit)
    identity = torch.eye(form.n_samples, dtype=dtype, device="cpu")
    kernel = circuit_kernel(kernels, dtype, circuit, n_sets > 1)
    with full_precision(identity.device):
        inputs = form.points(identity).repeat(n_sets)[:, None]
        transform = form.coefficients(identity)
    return _Samples(kernel, inputs, transform)


class _Coefficients(torch.autograd.Function):
    """Saves the arguments and the outputs of the circuits."""

    @staticmethod
    def forward(
        ctx: Any,
        kernels: Kernels,
        circuit: Circuit,
        weights: Tensor,
        readout: Tensor,
        gate: Tensor,
    ) -> Tensor:
        weights = weights.contiguous()
        readout = readout.contiguous()
        gate = gate.contiguous()
        n_sets = weights.shape[0]
        samples = _samples(kernels, circuit, n_sets, weights.dtype)
        coefficients = weights.new_zeros((n_sets, samples.transform.shape[1]))
        series = SeriesArguments(readout, gate, samples.transform, coefficients)
        outputs = call_forward(samples.kernel, samples.inputs, weights, series)
        ctx.samples = samples
        ctx.outputs = outputs
        save_tensors(ctx, weights, readout, gate)
        return coefficients

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights, readout, gate = saved_tensors(ctx)

        def gradients() -> tuple[Tensor, Tensor, Tensor]:
            to_readout = torch.zeros_like(readout)
            to_gate = torch.zeros_like(gate)
            incoming = gradient.resolve_neg().contiguous()
            transform = ctx.samples.transform
            series = SeriesArguments(readout, gate, transform, incoming, to_readout, to_gate)
            _, to_weights = call_backward(
                ctx.samples.kernel,
                ctx.samples.inputs,
                weights,
                torch.empty_like(ctx.outputs),
                ctx.outputs,
                series,
            )
            return to_weights, to_readout, to_gate

        sources = (gradient, weights, readout, gate)
        return None, None, *differentiable_once(gradients, sources, ENGINE_WAY_OUT)
