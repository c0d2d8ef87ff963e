"""The engine as operators of torch, for torch.compile: what dynamo cannot trace it calls, without breaking its graph.

Eager code does not come here: the call of an operator costs more than a small circuit.
"""

import importlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from hybridq._torch import constant_in_graphs
from hybridq.circuits import Circuit
from hybridq.engine.once import ENGINE_WAY_OUT, no_second_derivative

__all__ = ["traced"]

_circuits: dict[Circuit, int] = {}


@constant_in_graphs
def _number(circuit: Circuit) -> int:
    """A circuit's number, since operators take tensors, numbers and text."""
    return _circuits.setdefault(circuit, len(_circuits))


def _circuit(number: int) -> Circuit:
    return list(_circuits)[number]


def traced(circuit: Circuit, inputs: Tensor, weights: Tensor, engine: str) -> Tensor:
    """`evaluate` for flat weights, as one node of a graph."""
    result: Tensor = _evaluate(inputs, weights, _number(circuit), circuit.n_outputs, engine)
    return result


@torch.library.custom_op("hybridq::evaluate", mutates_args=())
def _evaluate(inputs: Tensor, weights: Tensor, circuit: int, n_outputs: int, engine: str) -> Tensor:
    return _eager(inputs, weights, circuit, engine).clone(memory_format=torch.contiguous_format)


@torch.library.custom_op("hybridq::evaluate_gradient", mutates_args=())
def _gradient(
    inputs: Tensor, weights: Tensor, gradient: Tensor, circuit: int, engine: str
) -> tuple[Tensor, Tensor]:
    # Inside an operator nothing is recorded, whatever the grad mode, in the thread that runs it.
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(_recorded, inputs, weights, gradient, circuit, engine).result()
    to_x, to_w = (g.clone(memory_format=torch.contiguous_format) for g in found)
    return to_x, to_w


def _recorded(
    inputs: Tensor, weights: Tensor, gradient: Tensor, circuit: int, engine: str
) -> tuple[Tensor, ...]:
    x, w = inputs.detach().requires_grad_(), weights.detach().requires_grad_()
    return torch.autograd.grad(
        _eager(x, w, circuit, engine), (x, w), gradient, materialize_grads=True
    )


def _eager(inputs: Tensor, weights: Tensor, number: int, engine: str) -> Tensor:
    circuit = _circuit(number)
    shape = (*weights.shape[:-1], *circuit.weight_shape)
    result: Tensor = importlib.import_module("hybridq.engine.evaluation").evaluate(
        circuit, inputs, weights.view(shape), engine
    )
    return result


@_evaluate.register_fake
def _(inputs: Tensor, weights: Tensor, circuit: int, n_outputs: int, engine: str) -> Tensor:
    return inputs.new_empty((inputs.shape[0], n_outputs))


@_gradient.register_fake
def _(
    inputs: Tensor, weights: Tensor, gradient: Tensor, circuit: int, engine: str
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(inputs, memory_format=torch.contiguous_format), weights.new_empty(
        weights.shape
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.circuit, ctx.engine = inputs[2], inputs[4]


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    to_inputs, to_weights = _gradient(*ctx.saved_tensors, gradient, ctx.circuit, ctx.engine)
    return to_inputs, to_weights, None, None, None


def _refuse(ctx: Any, *_: Tensor) -> None:
    raise no_second_derivative(ENGINE_WAY_OUT)


_evaluate.register_autograd(_backward, setup_context=_save)
_gradient.register_autograd(_refuse)
