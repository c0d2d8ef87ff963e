"""`evaluate`: a circuit on a batch of points, differentiable; by the compiled kernels, or by torch in chunks of lanes."""

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
from hybridq.engine.plan import Angles, Plan, make_plan
from hybridq.engine.readout import make_readout
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
        engine: "native" for the compiled kernels, which run on CPUs; "torch"; or "auto": native
            where it can be had.

    Returns:
        Shape (batch, n_outputs). Differentiable once towards inputs and weights. On CUDA, float32
        angles are products that `torch.set_float32_matmul_precision` governs: below "highest"
        (TF32) they have three digits; use float64 there.

    Raises:
        InvalidArgument: If the circuit has more than `MAX_QUBITS` qubits, a shape, dtype or device
            does not fit, or the sets do not divide the batch.
        NonAffineAngle: If the circuit cannot be traced.
        BackendUnavailable: If native kernels are asked for and there are none; inside of torch.func
            (vmap, grad, jvp). In a backward pass through a gradient, if a second derivative is
            asked for.
    """
    if circuit.n_qubits > MAX_QUBITS:
        way_out = (
            f"the engine runs at most {MAX_QUBITS} qubits; use fewer, or backend='lightning.qubit'"
        )
        raise InvalidArgument.of("n_qubits", circuit.n_qubits, way_out)
    refuse_transforms("give a batch of points and sets of weights, and use torch.autograd.grad")
    check_arguments(circuit, inputs, weights)
    compiling = torch.compiler.is_compiling()
    found = None if compiling else _kernels(engine, inputs)
    if found is not None:
        return run_circuit(found, circuit, inputs, weights)
    flat = weights.flatten(weights.ndim - len(circuit.weight_shape))  # but for the sets
    return traced(circuit, inputs, flat, engine) if compiling else _by_torch(circuit, inputs, flat)


def _kernels(engine: Engine, inputs: Tensor) -> Kernels | None:
    found = choose(engine, inputs.device)
    if found is None or inputs.dtype in DTYPES:
        return found
    if engine == "native":
        raise InvalidArgument.of(
            "inputs.dtype", inputs.dtype, "the kernels take float32 and float64; use engine='auto'"
        )
    return None


def choose(engine: Engine, device: torch.device) -> Kernels | None:
    """The kernels that an engine's name means on a device; None means torch.

    Raises:
        InvalidArgument: If there is no such engine.
        BackendUnavailable: If it is "native" and there are none.
    """
    if engine not in _ENGINES:
        raise InvalidArgument.of(
            "engine", engine, f"choose one of {', '.join(map(repr, _ENGINES))}"
        )
    if engine == "torch":
        return None
    found = kernels() if device.type == "cpu" else None
    if engine == "native" and found is None:
        reason = (
            why_none()
            if device.type == "cpu"
            else f"they run on CPUs, not on {device}. Use engine='torch', or 'auto'."
        )
        raise BackendUnavailable(f"engine='native': the compiled kernels: {reason}")
    return found


def _by_torch(circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
    if weights.ndim == 2 and 0 < len(weights) < len(inputs):
        weights = weights.repeat_interleave(len(inputs) // len(weights), 0)
    plan = make_plan(circuit, weights.ndim == 2, inputs.dtype, inputs.device)
    same = len(plan.lane_offset) == 0 and len(inputs) > 0  # all points are the same
    points = (
        (inputs[:1], weights[:1] if weights.ndim == 2 else weights) if same else (inputs, weights)
    )
    with full_precision(inputs.device):
        outputs: Tensor = _Evaluate.apply(circuit, torch.is_grad_enabled(), *points)  # type: ignore[no-untyped-call]
    return outputs.expand(len(inputs), -1)


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Autocast switched off, where it is on: angles in bfloat16 are wrong in the second digit."""
    return (
        torch.autocast(device.type, enabled=False)
        if torch.is_autocast_enabled(device.type)
        else nullcontext()
    )


class _Evaluate(torch.autograd.Function):
    """Saves the inputs, the weights and the final states, nothing that grows with the number of gates."""

    @staticmethod
    def forward(
        ctx: Any, circuit: Circuit, grad_enabled: bool, inputs: Tensor, weights: Tensor
    ) -> Tensor:
        plan = make_plan(circuit, weights.ndim == 2, inputs.dtype, inputs.device)
        readout = make_readout(circuit, plan, inputs.dtype)
        outputs = inputs.new_empty((circuit.n_outputs, len(inputs)))
        keep = grad_enabled and any(ctx.needs_input_grad[2:])  # which ignores no_grad
        states = []
        for chunk in _chunks(plan, inputs):
            state = torch_kernel.forward(plan, _angles(plan, inputs, weights, chunk))
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
            found = differentiable_once(
                lambda: _gradients(ctx, (inputs, weights, states), gradient),
                (gradient, inputs, weights),
                ENGINE_WAY_OUT,
            )
        return None, None, *found


def _gradients(
    ctx: Any, saved: tuple[Tensor, Tensor, list[Tensor]], gradient: Tensor
) -> tuple[Tensor | None, Tensor]:
    inputs, weights, states = saved
    plan = make_plan(ctx.circuit, weights.ndim == 2, inputs.dtype, inputs.device)
    readout = make_readout(ctx.circuit, plan, inputs.dtype)
    to_inputs = torch.empty_like(inputs) if ctx.needs_input_grad[2] else None
    to_weights = torch.zeros_like(weights, dtype=torch.float64)  # sums over the batch
    for chunk, state in zip(_chunks(plan, inputs), states, strict=True):
        angles = _angles(plan, inputs, weights, chunk)
        torch_kernel.backward(plan, angles, state, readout.cotangent(state, gradient[chunk].t()))
        if to_inputs is not None:
            to_inputs[chunk] = angles.lane_gradient.t() @ plan.inputs_to_lanes
        if weights.ndim == 2:
            to_weights[chunk] = (angles.lane_gradient.t() @ plan.weights_to_lanes).double()
        else:
            to_weights += plan.weights_to_lanes.t() @ angles.lane_gradient.sum(1)
            to_weights += plan.weights_to_shared.t() @ angles.shared_gradient[:, 0]
    return to_inputs, to_weights.to(weights.dtype)


def _angles(plan: Plan, inputs: Tensor, weights: Tensor, chunk: slice) -> Angles:
    return Angles(plan, inputs[chunk], weights[chunk] if weights.ndim == 2 else weights)


def _chunks(plan: Plan, inputs: Tensor) -> list[slice]:
    """Split the batch so that the states of a chunk fit the cache, or at least one lane."""
    budget = _CPU_CHUNK_BYTES if inputs.device.type == "cpu" else _GPU_CHUNK_BYTES
    lanes = max(1, budget // (4 * 2**plan.n_qubits * inputs.element_size()))
    return [slice(start, min(start + lanes, len(inputs))) for start in range(0, len(inputs), lanes)]
