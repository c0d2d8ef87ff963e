"""The engine as operators of torch, for torch.compile.

Dynamo cannot trace the engine, but it can call an operator without breaking its graph. Eager code
does not come here: the call of an operator costs more than a small circuit.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import torch
from torch import Tensor

from hybridq._torch import constant_in_graphs
from hybridq.circuits import Circuit
from hybridq.engine.choice import Engine
from hybridq.engine.eager import run_eagerly
from hybridq.engine.once import ENGINE_WAY_OUT, no_second_derivative

__all__ = ["traced"]

_circuits: dict[Circuit, int] = {}


@constant_in_graphs
def _number(circuit: Circuit) -> int:
    """Return a circuit's number: operators take tensors, numbers and text, but no circuits."""
    return _circuits.setdefault(circuit, len(_circuits))


def _circuit(number: int) -> Circuit:
    return list(_circuits)[number]


def traced(circuit: Circuit, inputs: Tensor, weights: Tensor, engine: str) -> Tensor:
    """Evaluate a circuit as one node of a graph.

    Args:
        circuit: The circuit.
        inputs: Shape (batch, n_inputs), radians.
        weights: Flat weights, shape (n_weights,) or (sets, n_weights), radians.
        engine: As `evaluate`.

    Returns:
        Shape (batch, n_outputs).
    """
    result: Tensor = _evaluate(inputs, weights, _number(circuit), circuit.n_outputs, engine)
    return result


@torch.library.custom_op("hybridq::evaluate", mutates_args=())
def _evaluate(inputs: Tensor, weights: Tensor, circuit: int, n_outputs: int, engine: str) -> Tensor:
    return _eager(inputs, weights, circuit, engine).clone(memory_format=torch.contiguous_format)


@torch.library.custom_op("hybridq::evaluate_gradient", mutates_args=())
def _gradient(
    inputs: Tensor, weights: Tensor, gradient: Tensor, circuit: int, engine: str
) -> tuple[Tensor, Tensor]:
    # In the thread that runs an operator autograd records nothing, whatever the grad mode is. In
    # a thread of our own it does.
    with ThreadPoolExecutor(1) as thread:
        gradients = thread.submit(_recorded, inputs, weights, gradient, circuit, engine).result()
    to_inputs, to_weights = gradients
    return (
        to_inputs.clone(memory_format=torch.contiguous_format),
        to_weights.clone(memory_format=torch.contiguous_format),
    )


def _recorded(
    inputs: Tensor, weights: Tensor, gradient: Tensor, circuit: int, engine: str
) -> tuple[Tensor, ...]:
    inputs = inputs.detach().requires_grad_()
    weights = weights.detach().requires_grad_()
    outputs = _eager(inputs, weights, circuit, engine)
    return torch.autograd.grad(outputs, (inputs, weights), gradient, materialize_grads=True)


def _eager(inputs: Tensor, weights: Tensor, number: int, name: str) -> Tensor:
    circuit = _circuit(number)
    engine = cast(Engine, name)  # operators take text
    shape = (*weights.shape[:-1], *circuit.weight_shape)
    return run_eagerly(circuit, inputs, weights.view(shape), engine)


@_evaluate.register_fake
def _(inputs: Tensor, weights: Tensor, circuit: int, n_outputs: int, engine: str) -> Tensor:
    return inputs.new_empty((inputs.shape[0], n_outputs))


@_gradient.register_fake
def _(
    inputs: Tensor, weights: Tensor, gradient: Tensor, circuit: int, engine: str
) -> tuple[Tensor, Tensor]:
    to_inputs = torch.empty_like(inputs, memory_format=torch.contiguous_format)
    to_weights = weights.new_empty(weights.shape)
    return to_inputs, to_weights


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    points, weights, circuit, _, engine = inputs
    ctx.save_for_backward(points, weights)
    ctx.circuit = circuit
    ctx.engine = engine


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    to_inputs, to_weights = _gradient(*ctx.saved_tensors, gradient, ctx.circuit, ctx.engine)
    return to_inputs, to_weights, None, None, None


def _refuse(ctx: Any, *_: Tensor) -> None:
    raise no_second_derivative(ENGINE_WAY_OUT)


_evaluate.register_autograd(_backward, setup_context=_save)
_gradient.register_autograd(_refuse)
