"""Quantum attention under torch.compile.

With the exact simulator it is one graph, and elsewhere no circuit runs too often.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from hybridq.layers import QuantumAttention, QuantumOptions, evaluate_together, to_backend

# Dynamo itself warns: the coefficients come from a hook, which it compiles apart from the model.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


class Model(nn.Module):
    """Two layers, whose circuits run together."""

    def __init__(self, options: QuantumOptions | None = None) -> None:
        super().__init__()
        self.first = QuantumAttention(8, 2, batch_first=True, options=options)
        self.second = QuantumAttention(8, 2, batch_first=True, options=options)
        evaluate_together(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x, x, x, need_weights=False)[0]
        output: Tensor = self.second(x, x, x, need_weights=False)[0]
        return output


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    torch.manual_seed(0)
    yield
    torch._dynamo.reset()


def inputs() -> Tensor:
    return torch.randn(3, 5, 8)


@pytest.mark.parametrize(
    "options", [None, QuantumOptions(sharing="module")], ids=["per head", "shared"]
)
def test_one_graph_with_the_same_numbers(options: QuantumOptions | None) -> None:
    model = Model(options)
    x = inputs()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    results = []
    for call in (model, compiled):
        output = call(x)
        gradients = torch.autograd.grad(output.square().sum(), list(model.parameters()))
        results.append([output, *gradients])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def test_training_steps_are_compiled_once() -> None:
    model = Model()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    graphs = []
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = compiled(inputs().fill_(0.3)).square().mean()
        torch.autograd.backward(loss)
        optimizer.step()
        graphs.append(counters["stats"]["unique_graphs"])
        losses.append(loss.item())
    assert len(set(graphs)) == 1
    assert losses[-1] < losses[0]


def test_shots_are_paid_once_for_a_data_set_when_compiled_too() -> None:
    pytest.importorskip("qiskit_aer")
    model = to_backend(Model().eval(), "aer:shots=100")
    backend = model.get_submodule("first").backend
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        compiled(inputs())
        once = backend.n_circuits_run
        compiled(inputs())
    assert once == 2 * 2 * 17
    assert backend.n_circuits_run == once
