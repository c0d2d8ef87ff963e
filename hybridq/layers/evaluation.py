"""Runs the circuits of modules, those with the same circuit and backend in one evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from hybridq._torch import not_compiled
from hybridq.backends import AbstractBackend
from hybridq.circuits import Circuit
from hybridq.engine import full_precision
from hybridq.layers.circuit_module import AbstractCircuitModule, CircuitRequest
from hybridq.layers.given import given_to

__all__ = ["coefficients_of", "evaluate_circuits"]


def coefficients_of(module: AbstractCircuitModule) -> Sequence[Tensor]:
    """Return the Fourier coefficients of a module's requests for the pass that is under way.

    If `circuits_given` or `evaluate_together` gave them, no circuit runs; otherwise the module's
    circuits run now.

    Args:
        module: The module.

    Returns:
        For each request, shape (sets, 2 D + 1).
    """
    given = given_to(module)
    return evaluate_circuits([module])[0] if given is None else given


def evaluate_circuits(modules: Sequence[AbstractCircuitModule]) -> list[Sequence[Tensor]]:
    """Run the circuits of several modules, those with the same circuit and backend in one job.

    In evaluation mode under `torch.no_grad()` or inference mode, a module whose weights have not
    changed keeps the outputs of its circuits. A whole data set then runs them once, and on hardware
    every batch sees the same shots. Where torch.compile traces the backend, which is exact then,
    they run for each batch instead.

    Args:
        modules: The modules. Those whose circuits depend on the data run none here.

    Returns:
        For each module and each of its requests the Fourier coefficients, shape (sets, 2 D + 1).
        Differentiable towards weights, readout and gate.
    """
    traced = torch.compiler.is_compiling()
    if traced and not all(module.backend.traceable for module in modules):
        return _evaluate_uncompiled(modules)
    return _evaluate(modules)


@not_compiled
def _evaluate_uncompiled(modules: Sequence[AbstractCircuitModule]) -> list[Sequence[Tensor]]:
    return _evaluate(modules)


@dataclass(frozen=True, eq=False)
class _Task:
    """One request of a module, and its place among that module's requests."""

    module: AbstractCircuitModule
    place: int
    request: CircuitRequest


def _evaluate(modules: Sequence[AbstractCircuitModule]) -> list[Sequence[Tensor]]:
    tasks_of_modules = [_tasks(module) for module in modules]
    tasks = [task for tasks_of_module in tasks_of_modules for task in tasks_of_module]
    results = _with_gradients(tasks) if _learns(modules) else _without_gradients(tasks)
    remaining = iter(results)
    return [[next(remaining) for _ in tasks_of_module] for tasks_of_module in tasks_of_modules]


def _tasks(module: AbstractCircuitModule) -> list[_Task]:
    requests = module.requests() or ()
    return [_Task(module, place, request) for place, request in enumerate(requests)]


def _learns(modules: Sequence[AbstractCircuitModule]) -> bool:
    """Return whether results must not be kept: for gradients, in training, in a compiled graph."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return True
    return any(module.training for module in modules)


def _with_gradients(tasks: Sequence[_Task]) -> list[Tensor]:
    if len(tasks) == 1:  # small circuits feel every call
        request = tasks[0].request
        backend = tasks[0].module.backend
        return [
            backend.coefficients(request.circuit, request.weights, request.readout, request.gate)
        ]
    results: dict[int, Tensor] = {}
    for group in _groups(tasks, range(len(tasks))):
        requests = [tasks[i].request for i in group]
        backend = tasks[group[0]].module.backend
        joined = backend.coefficients(
            requests[0].circuit,
            torch.cat([request.weights for request in requests]),
            torch.cat([request.readout for request in requests]),
            torch.cat([request.gate for request in requests]),
        )
        results.update(zip(group, _parts(joined, requests), strict=True))
    return [results[i] for i in range(len(tasks))]


def _without_gradients(tasks: Sequence[_Task]) -> list[Tensor]:
    """Run the circuits whose outputs are not kept from an earlier pass, and keep them."""
    outputs = [_kept_outputs(task) for task in tasks]
    missing = [i for i, kept in enumerate(outputs) if kept is None]
    for group in _groups(tasks, missing):
        requests = [tasks[i].request for i in group]
        backend = tasks[group[0]].module.backend
        weights = torch.cat([request.weights for request in requests])
        inputs = requests[0].form.inputs(weights)
        with full_precision(weights.device):
            samples = backend.evaluate(requests[0].circuit, inputs, weights)
        n_samples = [len(request.weights) * request.form.n_samples for request in requests]
        for i, part in zip(group, torch.split(samples, n_samples), strict=True):
            outputs[i] = part
            _keep_outputs(tasks[i], part)
    return [
        _combined(task.request, part)
        for task, part in zip(tasks, outputs, strict=True)
        if part is not None
    ]


def _combined(request: CircuitRequest, outputs: Tensor) -> Tensor:
    with full_precision(outputs.device):
        return request.form.combine(outputs, request.readout, request.gate)


# Requests that one evaluation can serve -----------------------------------------------------------


def _groups(tasks: Sequence[_Task], numbers: Sequence[int]) -> list[list[int]]:
    """Group tasks that one evaluation can serve.

    Args:
        tasks: The tasks.
        numbers: The numbers of the tasks to group.

    Returns:
        The numbers of each group.
    """
    groups: list[list[int]] = []
    for number in numbers:
        key = _key(tasks[number])
        for group in groups:
            if _key(tasks[group[0]]) == key:
                group.append(number)
                break
        else:
            groups.append([number])
    return groups


def _key(task: _Task) -> tuple[Circuit, AbstractBackend, torch.dtype, torch.device]:
    """Return the parts that tasks of one evaluation share; equal options make backends equal."""
    weights = task.request.weights
    return task.request.circuit, task.module.backend, weights.dtype, weights.device


def _parts(joined: Tensor, requests: Sequence[CircuitRequest]) -> Sequence[Tensor]:
    """Return the rows of each request; unlike views of torch.split they may change in place."""
    parts = []
    first = 0
    for request in requests:
        last = first + len(request.weights)
        parts.append(joined[first:last])
        first = last
    return parts


# Outputs kept between passes of evaluation mode ---------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Kept:
    """The last outputs of a request's circuits, and the weights and the backend they belong to."""

    circuit: Circuit
    backend: AbstractBackend
    weights: Tensor
    outputs: Tensor

    def serves(self, task: _Task) -> bool:
        """Return whether nothing has changed since."""
        request = task.request
        weights = request.weights
        if self.backend is not task.module.backend or self.circuit != request.circuit:
            return False
        if (self.weights.dtype, self.weights.device) != (weights.dtype, weights.device):
            return False
        return torch.equal(self.weights, weights)


_kept: WeakKeyDictionary[AbstractCircuitModule, dict[int, _Kept]] = WeakKeyDictionary()


def _kept_outputs(task: _Task) -> Tensor | None:
    kept = _kept.get(task.module, {}).get(task.place)
    return kept.outputs if kept is not None and kept.serves(task) else None


def _keep_outputs(task: _Task, outputs: Tensor) -> None:
    request = task.request
    kept = _Kept(request.circuit, task.module.backend, request.weights, outputs)
    _kept[task.module] = {**_kept.get(task.module, {}), task.place: kept}
