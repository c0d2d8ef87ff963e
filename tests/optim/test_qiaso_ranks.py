"""QIASO on several ranks: each evaluates its share of the candidates."""

from typing import Any

import torch
from torch import Tensor, nn

from hybridq.optim.qiaso import QIASO, QIASOOptions
from tests.optim._ranks import run_on_ranks

Found = tuple[list[Tensor], int, float]


def search(evaluator: str, options: QIASOOptions, distributed: bool) -> Found:
    """Four steps: the parameters, how many losses this process has found, and the last expected loss."""
    model, n_calls, told = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), 0, 0.0
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
            told = optimizer.step(lambda: loss(model, inputs))  # noqa: B023 - called at once
        else:
            told = optimizer.tell(optimizer.evaluate(model, loss, inputs, evaluator=evaluator))
        optimizer.epoch_end()
    return [parameter.detach() for parameter in model.parameters()], n_calls, told


SEARCHES = [
    ("step", QIASOOptions(7, accept="if_better", collapse_when="epoch")),
    ("loop", QIASOOptions(7, unit="tensor")),
    ("vmap", QIASOOptions(1)),
]


def all_searches(rank: int) -> list[Found]:
    return [search(evaluator, options, distributed=True) for evaluator, options in SEARCHES]


def test_two_ranks_do_what_one_does_to_the_last_bit_with_half_the_losses_each() -> None:
    ranks = run_on_ranks(all_searches, 2)
    for number, (evaluator, options) in enumerate(SEARCHES):
        alone, n_alone, told = search(evaluator, options, distributed=False)
        for found in ranks:
            weights, _, told_there = found[number]
            assert all(torch.equal(a, b) for a, b in zip(weights, alone, strict=True))
            assert told_there == told
        shares = [found[number][1] for found in ranks]
        assert sum(shares) == n_alone
        assert shares == [-(-n_alone // 8) * 4, n_alone // 8 * 4]
