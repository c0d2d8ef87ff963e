"""Circuits run by torch, in chunks of lanes (points) whose states fit the cache."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hybridq.circuits import Circuit
from hybridq.engine import torch_kernel
from hybridq.engine.choice import full_precision
from hybridq.engine.once import ENGINE_WAY_OUT, differentiable_once
from hybridq.engine.readout_map import make_readout_map
from hybridq.engine.torch_program import Angles, TorchProgram, prepare_program

__all__ = ["run_by_torch"]

_CPU_CHUNK_BYTES = 2**21  # psi and lambda together: measured best, 16 KB to 4 MB tried
_GPU_CHUNK_BYTES = 2**28


def run_by_torch(circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
    """Run a circuit at a batch of points.

    Args:
        circuit: The circuit.
        inputs: Shape (batch, n_inputs), radians.
        weights: Flat weights, shape (n_weights,) or (sets, n_weights) with sets that divide the
            batch; radians, same dtype and device.

    Returns:
        Shape (batch, n_outputs). Differentiable once.
    """
    batch = len(inputs)
    if weights.ndim == 2 and 0 < len(weights) < batch:
        weights = weights.repeat_interleave(batch // len(weights), 0)
    program = prepare_program(circuit, weights.ndim == 2, inputs.dtype, inputs.device)
    no_angle_differs = len(program.lane_angles.offset) == 0
    if no_angle_differs and batch > 0:  # all points are the same, and one of them is enough
        inputs = inputs[:1]
        weights = weights[:1] if weights.ndim == 2 else weights
    arguments = (circuit, torch.is_grad_enabled(), inputs, weights)
    with full_precision(inputs.device):
        outputs: Tensor = _Evaluate.apply(*arguments)  # type: ignore[no-untyped-call]
    return outputs.expand(batch, -1)


class _Evaluate(torch.autograd.Function):
    """Saves inputs, weights and final states, and nothing that grows with the number of gates."""

    @staticmethod
    def forward(
        ctx: Any, circuit: Circuit, grad_enabled: bool, inputs: Tensor, weights: Tensor
    ) -> Tensor:
        program = prepare_program(circuit, weights.ndim == 2, inputs.dtype, inputs.device)
        readout = make_readout_map(circuit, program, inputs.dtype)
        outputs = inputs.new_empty((circuit.n_outputs, len(inputs)))
        # `needs_input_grad` alone does not know of torch.no_grad().
        keep = grad_enabled and any(ctx.needs_input_grad[2:])
        states = []
        for chunk in _chunks(program, inputs):
            state = torch_kernel.forward(program, _angles(program, inputs, weights, chunk))
            outputs[:, chunk] = readout.read(state)
            if keep:
                states.append(state)
        ctx.circuit = circuit
        ctx.save_for_backward(inputs, weights, *states)
        return outputs.t()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights, *states = ctx.saved_tensors
        with full_precision(gradient.device):
            gradients = differentiable_once(
                lambda: _gradients(ctx, inputs, weights, states, gradient),
                (gradient, inputs, weights),
                ENGINE_WAY_OUT,
            )
        return None, None, *gradients


def _gradients(
    ctx: Any, inputs: Tensor, weights: Tensor, states: Sequence[Tensor], gradient: Tensor
) -> tuple[Tensor | None, Tensor]:
    program = prepare_program(ctx.circuit, weights.ndim == 2, inputs.dtype, inputs.device)
    readout = make_readout_map(ctx.circuit, program, inputs.dtype)
    per_lane = program.lane_angles
    to_inputs = torch.empty_like(inputs) if ctx.needs_input_grad[2] else None
    to_weights = torch.zeros_like(weights, dtype=torch.float64)  # sums over the batch
    for chunk, state in zip(_chunks(program, inputs), states, strict=True):
        angles = _angles(program, inputs, weights, chunk)
        cotangent = readout.cotangent(state, gradient[chunk].t())
        torch_kernel.backward(program, angles, state, cotangent)
        if to_inputs is not None:
            to_inputs[chunk] = angles.lane_gradient.t() @ per_lane.from_inputs
        if weights.ndim == 2:
            to_weights[chunk] = (angles.lane_gradient.t() @ per_lane.from_weights).double()
        else:
            to_weights += per_lane.from_weights.t() @ angles.lane_gradient.sum(1)
            shared_gradient = angles.shared_gradient[:, 0]
            to_weights += program.shared_angles.from_weights.t() @ shared_gradient
    return to_inputs, to_weights.to(weights.dtype)


def _angles(program: TorchProgram, inputs: Tensor, weights: Tensor, chunk: slice) -> Angles:
    return Angles(program, inputs[chunk], weights[chunk] if weights.ndim == 2 else weights)


def _chunks(program: TorchProgram, inputs: Tensor) -> list[slice]:
    """Split the batch so that the states of a chunk fit the cache, or at least one lane."""
    batch = len(inputs)
    budget = _CPU_CHUNK_BYTES if inputs.device.type == "cpu" else _GPU_CHUNK_BYTES
    # psi and lambda have two parts each, real and imaginary.
    bytes_of_lane = 4 * 2**program.n_qubits * inputs.element_size()
    lanes = max(1, budget // bytes_of_lane)
    return [slice(start, min(start + lanes, batch)) for start in range(0, batch, lanes)]
