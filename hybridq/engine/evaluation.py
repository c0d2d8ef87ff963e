"""`evaluate`: a circuit at a batch of points, differentiable.

The compiled kernels run it where they can; otherwise torch does, in chunks of lanes (points).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from hybridq.circuits import Circuit
from hybridq.engine import torch_kernel
from hybridq.engine.arguments import check_arguments
from hybridq.engine.compiled import run_circuit
from hybridq.engine.once import ENGINE_WAY_OUT, differentiable_once, refuse_transforms
from hybridq.engine.operator import traced
from hybridq.engine.readout_map import make_readout_map
from hybridq.engine.torch_program import Angles, TorchProgram, prepare_program
from hybridq.errors import BackendUnavailable, InvalidArgument
from hybridq.native import Kernels, kernels, why_none
from hybridq.native.circuits import DTYPES

__all__ = ["MAX_QUBITS", "Engine", "choose", "evaluate", "full_precision"]

Engine = Literal["auto", "native", "torch"]
_ENGINES = get_args(Engine)

MAX_QUBITS = 20
_CPU_CHUNK_BYTES = 2**21  # psi and lambda together: measured best, 16 KB to 4 MB tried
_GPU_CHUNK_BYTES = 2**28


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
    compiling = torch.compiler.is_compiling()
    compiled_kernels = None if compiling else _kernels(engine, inputs)
    if compiled_kernels is not None:
        return run_circuit(compiled_kernels, circuit, inputs, weights)
    # The axes of `weight_shape` become one; an axis of sets before them stays.
    flat = weights.flatten(weights.ndim - len(circuit.weight_shape))
    return traced(circuit, inputs, flat, engine) if compiling else _by_torch(circuit, inputs, flat)


def _kernels(engine: Engine, inputs: Tensor) -> Kernels | None:
    chosen = choose(engine, inputs.device)
    if chosen is None or inputs.dtype in DTYPES:
        return chosen
    if engine == "native":
        reason = "the kernels take float32 and float64; use engine='auto'"
        raise InvalidArgument.of("inputs.dtype", inputs.dtype, reason)
    return None


def choose(engine: Engine, device: torch.device) -> Kernels | None:
    """Return the kernels that an engine's name means on a device.

    Args:
        engine: "auto", "native" or "torch".
        device: Where the tensors are.

    Returns:
        The kernels; None means that torch runs the circuits.

    Raises:
        InvalidArgument: If there is no such engine.
        BackendUnavailable: If it is "native" and there are none.
    """
    if engine not in _ENGINES:
        names = ", ".join(map(repr, _ENGINES))
        raise InvalidArgument.of("engine", engine, f"choose one of {names}")
    if engine == "torch":
        return None
    if device.type != "cpu":
        if engine == "native":
            reason = f"they run on CPUs, not on {device}. Use engine='torch', or 'auto'."
            raise BackendUnavailable(f"engine='native': the compiled kernels: {reason}")
        return None
    loaded = kernels()
    if engine == "native" and loaded is None:
        raise BackendUnavailable(f"engine='native': the compiled kernels: {why_none()}")
    return loaded


def _by_torch(circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
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


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Switch autocast off, where it is on: angles in bfloat16 are wrong in the second digit.

    Args:
        device: The device whose autocast is meant.

    Returns:
        A context manager.
    """
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


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
