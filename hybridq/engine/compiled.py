"""Circuits by the compiled kernels of `hybridq.native`, in one node of autograd's graph."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from hybridq.circuits import Circuit
from hybridq.engine.once import ENGINE_WAY_OUT, differentiable_once, save_tensors, saved_tensors
from hybridq.engine.packing import pack_circuit
from hybridq.native import Kernels
from hybridq.native.circuits import CircuitKernel, call_backward, call_forward, circuit_function

__all__ = ["circuit_kernel", "one_by_one", "run_circuit"]


def one_by_one(n_qubits: int) -> bool:
    """Return whether circuits run one after the other, amplitudes side by side.

    Otherwise many run at a time.
    """
    return n_qubits > 8


@lru_cache(maxsize=64)  # in one place: small circuits feel every call
def circuit_kernel(
    kernels: Kernels,
    dtype: torch.dtype,
    circuit: Circuit,
    own_weights: bool,
) -> CircuitKernel:
    """Return the kernel for a circuit and a dtype.

    Args:
        kernels: The kernels.
        dtype: One of `hybridq.native.circuits.DTYPES`.
        circuit: The circuit.
        own_weights: Whether each set of weights serves points of its own. Otherwise all points
            share one set.
    """
    return CircuitKernel(
        program=pack_circuit(circuit, own_weights),
        function=circuit_function(kernels.library, dtype),
        one_by_one=one_by_one(circuit.n_qubits),
        own_weights=own_weights,
    )


def run_circuit(kernels: Kernels, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
    """Run a circuit by the kernels.

    Args:
        kernels: The kernels.
        circuit: The circuit.
        inputs: Shape (batch, n_inputs), radians, on the CPU.
        weights: Shape `weight_shape`, or (sets, *weight_shape) where each set serves batch / sets
            points in a row; radians.

    Returns:
        Shape (batch, n_outputs). Differentiable once.
    """
    has_sets = weights.ndim > len(circuit.weight_shape)
    own_weights = has_sets and weights.shape[0] != 1  # all points share a single set
    kernel = circuit_kernel(kernels, inputs.dtype, circuit, own_weights)
    inputs = inputs.resolve_neg().contiguous()
    weights = weights.resolve_neg().contiguous()
    outputs: Tensor = _RunCircuit.apply(kernel, inputs, weights)  # type: ignore[no-untyped-call]
    return outputs if kernel.program.selects else circuit.readout.select(outputs, 1)


class _RunCircuit(torch.autograd.Function):
    """Saves the inputs and the weights only: the backward pass runs the circuits again."""

    @staticmethod
    def forward(ctx: Any, kernel: CircuitKernel, inputs: Tensor, weights: Tensor) -> Tensor:
        ctx.kernel = kernel
        save_tensors(ctx, inputs, weights)
        return call_forward(kernel, inputs, weights)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights = saved_tensors(ctx)
        gradients = differentiable_once(
            lambda: call_backward(ctx.kernel, inputs, weights, gradient.resolve_neg()),
            (gradient, inputs, weights),
            ENGINE_WAY_OUT,
        )
        return None, *gradients
