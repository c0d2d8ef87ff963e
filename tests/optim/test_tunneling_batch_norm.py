"""Batch-norm statistics that are measured anew."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from hybridq.errors import InvalidArgument
from hybridq.optim._batch_norm import recalibrate_batch_norm


def model() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3, momentum=0.3),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(12, 4),
    ]
    made = nn.Sequential(
        *layers, nn.BatchNorm1d(4), nn.BatchNorm1d(4, track_running_stats=False)
    ).double()
    made(torch.randn(8, 2, 4, 4, dtype=torch.float64))
    return made


def batches(n: int = 3) -> list[Tensor]:
    source = torch.Generator().manual_seed(1)
    return [
        torch.randn(8, 2, 4, 4, generator=source, dtype=torch.float64) * (1 + i) for i in range(n)
    ]


def test_statistics_are_the_plain_averages_over_the_batches() -> None:
    net = model().eval()
    recalibrate_batch_norm(net, batches())
    seen = [net[0](batch) for batch in batches()]  # (8, 3, 2, 2)
    mean = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
    variance = torch.stack([x.transpose(0, 1).reshape(3, -1).var(1) for x in seen]).mean(0)
    torch.testing.assert_close(net[1].running_mean, mean, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(net[1].running_var, variance, rtol=1e-10, atol=1e-10)


def test_it_does_not_depend_on_what_the_statistics_were() -> None:
    first, second = model().eval(), model().eval()
    second[5].running_mean.fill_(100.0)  # type: ignore[operator, union-attr]
    for net in (first, second):
        recalibrate_batch_norm(net, batches())
    assert all(torch.equal(a, b) for a, b in zip(first.buffers(), second.buffers(), strict=True))
    assert first[5].num_batches_tracked == 3


@pytest.mark.parametrize("training", [True, False])
def test_modes_momenta_and_weights_are_as_before(training: bool) -> None:
    net = model().train(training)
    net[1].train(not training)
    before = [value.clone() for value in net.parameters()]
    modes = [module.training for module in net.modules()]
    recalibrate_batch_norm(net, batches())
    assert [module.training for module in net.modules()] == modes
    assert [net[1].momentum, net[5].momentum] == [0.3, 0.1]
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        result: Tensor = self.norm(left + 10 * right)
        return result


def test_batches_of_several_arguments() -> None:
    left, right = torch.tensor([[0.0, 2.0], [2.0, 4.0]]), torch.ones(2, 2)
    for batch in ((left, right), [left, right], {"left": left, "right": right}):
        net = TwoInputs()
        recalibrate_batch_norm(net, [batch])
        assert net.norm.running_mean is not None
        assert net.norm.running_mean.tolist() == [11.0, 13.0]


def test_a_model_without_statistics_reads_no_batches() -> None:
    def none() -> Iterator[Tensor]:
        raise AssertionError
        yield

    recalibrate_batch_norm(nn.Linear(2, 2), none())


def test_bad_batches() -> None:
    net = model()
    before = [value.clone() for value in net.buffers()]
    with pytest.raises(InvalidArgument, match=r"batches=\[\]: give at least one batch"):
        recalibrate_batch_norm(net, [])
    assert all(torch.equal(a, b) for a, b in zip(before, net.buffers(), strict=True))
    with pytest.raises(
        InvalidArgument, match=r"batches=<class 'int'>: a batch is a tensor, a tuple"
    ):
        recalibrate_batch_norm(net, [3])
    assert net[1].momentum == 0.3
