"""Small layers and their results."""

import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hybridq.backends.statevector import Statevector
from hybridq.circuits import Circuit, RyRzCnot
from hybridq.errors import QuantumNoOpWarning
from hybridq.layers import QuantumAttention, QuantumOptions

SMALL = Circuit(RyRzCnot(n_qubits=2, n_layers=2))


@dataclass
class Counting(Statevector):
    """Counts the evaluations, each of which would be a job."""

    option: int = 0
    calls: int = field(default=0, init=False, compare=False)

    def _evaluate(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        self.calls += 1
        return super()._evaluate(circuit, inputs, weights)


def make(
    embed_dim: int = 8, num_heads: int = 2, seed: int = 0, **arguments: Any
) -> QuantumAttention:
    """A float64 layer, batch first unless said otherwise, with generic parameters."""
    torch.manual_seed(seed)
    arguments = {"batch_first": True, "options": QuantumOptions(SMALL, angle_std=1.0), **arguments}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QuantumNoOpWarning)
        layer = QuantumAttention(embed_dim, num_heads, **arguments).double()
    scatter(layer)
    return layer


def scatter(module: nn.Module) -> None:
    """Move every parameter away from where it starts, so that nothing cancels by accident.

    Frozen parameters stay.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)


def tokens(*shape: int, seed: int = 1) -> Tensor:
    """Generic inputs, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def negative_view(values: Tensor) -> Tensor:
    """The same numbers, which memory holds with the other sign."""
    return torch._neg_view(-values.detach())


def results(layer: nn.Module, *inputs: Tensor, **call: Any) -> dict[str, Tensor]:
    """The output, the weights, and the gradients of a mixture of the outputs.

    The gradients are those towards inputs and parameters.
    """
    output, weights = layer(*inputs, **call)
    mix = torch.linspace(-1, 1.3, output.numel(), dtype=output.dtype).view_as(output)
    # Named as in checkpoints of QuantumAttention, whatever module holds the parameter.
    named = [(name.replace("score.", ""), p) for name, p in layer.named_parameters()]
    trained = {name: p for name, p in named if p.requires_grad}
    distinct = {id(x): x for x in inputs if x.requires_grad}.values()
    sources = {f"input {i}": x for i, x in enumerate(distinct)} | trained
    gradients = torch.autograd.grad((output * mix).sum(), list(sources.values()))
    tensors = {"output": output.detach(), **dict(zip(sources, gradients, strict=True))}
    return tensors if weights is None else {**tensors, "weights": weights.detach()}


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], limit: float = 1e-10) -> None:
    """Compare the tensors that both have; both must have the output."""
    for name in {"output", *ours} & {"output", *theirs}:

        def named(text: str, name: str = name) -> str:
            return f"{name}: {text}"

        torch.testing.assert_close(ours[name], theirs[name], atol=limit, rtol=0, msg=named)
