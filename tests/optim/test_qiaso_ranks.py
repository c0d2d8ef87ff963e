"""QIASO on several ranks: each evaluates its share of the candidates."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hybridq.optim.qiaso import QIASO, QIASOOptions
from tests.optim._ranks import run_on_ranks


class Search(NamedTuple):
    """A search of four steps."""

    weights: list[Tensor]
    n_losses: int
    """The number of losses that this process has computed."""
    expected: float
    """The expected loss of the last step."""


def search(evaluator: str, options: QIASOOptions, distributed: bool) -> Search:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    n_calls = 0
    expected = 0.0
    for number, parameter in enumerate(model.parameters()):
        parameter.data.copy_(torch.linspace(-1, 1 + number, parameter.numel()).view_as(parameter))
    optimizer = QIASO(model.parameters(), 0, options, distributed=distributed)

    def loss(call: Any, inputs: Tensor) -> Tensor:
        nonlocal n_calls
        n_calls += 1
        value: Tensor = (call(inputs) - inputs.sum(1, keepdim=True)).square().mean()
        return value

    for step in range(4):
        inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        if evaluator == "step":
            expected = optimizer.step(lambda: loss(model, inputs))  # noqa: B023 - called at once
        else:
            losses = optimizer.evaluate(model, loss, inputs, evaluator=evaluator)
            expected = optimizer.tell(losses)
        optimizer.epoch_end()
    weights = [parameter.detach() for parameter in model.parameters()]
    return Search(weights, n_calls, expected)


SEARCHES = [
    ("step", QIASOOptions(7, accept="if_better", collapse_when="epoch")),
    ("loop", QIASOOptions(7, unit="tensor")),
    ("vmap", QIASOOptions(1)),
]


def all_searches(rank: int) -> list[Search]:
    return [search(evaluator, options, distributed=True) for evaluator, options in SEARCHES]


def test_two_ranks_do_what_one_does_to_the_last_bit_with_half_the_losses_each() -> None:
    ranks = run_on_ranks(all_searches, 2)
    for number, (evaluator, options) in enumerate(SEARCHES):
        alone = search(evaluator, options, distributed=False)
        shared = [searches[number] for searches in ranks]
        for part in shared:
            assert all(torch.equal(a, b) for a, b in zip(part.weights, alone.weights, strict=True))
            assert part.expected == alone.expected
        shares = [part.n_losses for part in shared]
        assert sum(shares) == alone.n_losses
        assert shares == [-(-alone.n_losses // 8) * 4, alone.n_losses // 8 * 4]
