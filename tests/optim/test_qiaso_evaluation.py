"""How QIASO's candidates are evaluated: by a loop or vmap, with batch norm, and on real data."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn import functional as F

from hybridq.errors import InvalidArgument
from hybridq.optim._batch_norm import recalibrate_batch_norm
from hybridq.optim.qiaso import QIASO, QIASOOptions, batch_statistics

Batch = tuple[Tensor, Tensor]


def network(seed: int = 0) -> nn.Sequential:
    source = torch.Generator().manual_seed(seed)
    layers = [
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48, 5),
        nn.BatchNorm1d(5),
    ]
    model = nn.Sequential(*layers).double()
    for parameter in model.parameters():
        parameter.data.normal_(generator=source).mul_(0.3)
    return model.eval()


def batch(seed: int = 0, size: int = 16) -> Batch:
    source = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 1, 6, 6, generator=source, dtype=torch.float64)
    return images, torch.randint(5, (size,), generator=source)


def cross_entropy(call: Callable[..., Tensor], data: Batch) -> Tensor:
    return F.cross_entropy(call(data[0]), data[1])


def running(model: nn.Module) -> list[Tensor]:
    return [buffer.clone() for buffer in model.buffers()]


@pytest.mark.parametrize("n_parallel", [1, 4, 30, 100])
@pytest.mark.parametrize("unit", ["whole", "tensor"])
def test_vmap_finds_the_losses_that_the_loop_finds(unit: Any, n_parallel: int) -> None:
    model = network()
    optimizer = QIASO(
        model.parameters(), 0, QIASOOptions(7, unit=unit, accept="if_better", collapse_when="epoch")
    )
    for step in range(3):
        loop = optimizer.evaluate(model, cross_entropy, batch(step), evaluator="loop")
        vmap = optimizer.evaluate(
            model, cross_entropy, batch(step), evaluator="vmap", n_parallel=n_parallel
        )
        assert len(loop) == len(optimizer.ask())
        assert loop.std() > 1e-4
        assert torch.allclose(loop, vmap, rtol=0, atol=1e-12)
        optimizer.tell(loop)


def test_vmap_leaves_out_what_is_frozen_and_knows_tied_weights() -> None:
    first, second = nn.Linear(3, 3).double(), nn.Linear(3, 3).double()
    second.weight = first.weight
    first.bias.requires_grad_(False)
    model, data = nn.Sequential(first, nn.Tanh(), second), torch.ones(4, 3, dtype=torch.float64)

    def loss(call: Callable[..., Tensor], inputs: Tensor) -> Tensor:
        return call(inputs).square().mean()

    optimizer = QIASO(model.parameters(), 0)
    loop, vmap = (
        optimizer.evaluate(model, loss, data, evaluator=evaluator) for evaluator in ("loop", "vmap")
    )
    assert torch.allclose(loop, vmap, rtol=0, atol=1e-12)


def test_auto_is_the_loop_on_a_cpu() -> None:
    model = network()
    optimizer = QIASO(model.parameters(), 0)
    calls: list[Any] = []

    def loss(call: Callable[..., Tensor], data: Batch) -> Tensor:
        calls.append(call)
        return cross_entropy(call, data)

    optimizer.evaluate(model, loss, batch())
    assert calls == [model] * 30


def test_evaluate_refuses_what_it_does_not_know() -> None:
    model = network()
    optimizer = QIASO([*model.parameters(), Parameter(torch.ones(3))], 0)
    with pytest.raises(InvalidArgument, match=r"^evaluator="):
        optimizer.evaluate(model, cross_entropy, batch(), evaluator="fast")
    with pytest.raises(InvalidArgument, match=r"^n_parallel="):
        optimizer.evaluate(model, cross_entropy, batch(), n_parallel=0)
    with pytest.raises(InvalidArgument, match="trainable parameter 8"):
        optimizer.evaluate(model, cross_entropy, batch(), evaluator="vmap")
    with pytest.raises(InvalidArgument, match=r"^closure returned a tensor of "):
        optimizer.evaluate(model, lambda call, data: call(data[0]), batch())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("evaluator", ["loop", "vmap"])
def test_candidates_use_the_statistics_of_the_batch_and_leave_the_running_ones(
    evaluator: str, training: bool
) -> None:
    model, data = network().train(training), batch()
    optimizer = QIASO(model.parameters(), 0, QIASOOptions(sigma_start=0.0))
    before, modes = running(model), [module.training for module in model.modules()]
    losses = optimizer.evaluate(model, cross_entropy, data, evaluator=evaluator)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(running(model), before, strict=True))
    with torch.no_grad():
        in_eval = cross_entropy(model.eval(), data)
        in_train = cross_entropy(model.train(), data)  # This moves the statistics.
    assert torch.allclose(losses, in_train.expand(30), rtol=0, atol=1e-12)
    assert (in_train - in_eval).abs() > 1e-3
    assert not torch.equal(running(model)[0], before[0])


def test_batch_statistics_come_off_again_after_an_error() -> None:
    model = network().train()
    before = running(model)
    with pytest.raises(ZeroDivisionError), batch_statistics(model):
        raise ZeroDivisionError
    assert all(torch.equal(a, b) for a, b in zip(running(model), before, strict=True))
    model(batch()[0])
    assert not torch.equal(running(model)[0], before[0])


def test_the_deployed_weights_are_recalibrated() -> None:
    model, data = network(), batch(size=64)
    optimizer = QIASO(model.parameters(), 0)
    for _ in range(30):
        optimizer.tell(optimizer.evaluate(model, cross_entropy, data))
    with torch.no_grad():
        stale = cross_entropy(model, data)
        recalibrate_batch_norm(model, [data[0]])
        fresh = cross_entropy(model, data)
        with batch_statistics(model):
            searched = cross_entropy(model, data)
    assert abs(stale - searched) > 10 * abs(fresh - searched)
    assert abs(stale - searched) > 0.01


@pytest.mark.slow
def test_it_learns_to_read_digits() -> None:
    pixels, labels = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    source = torch.Generator().manual_seed(0)
    order = torch.randperm(len(labels), generator=source)
    images = torch.tensor(pixels / 16, dtype=torch.float32)[order]
    targets = torch.tensor(labels)[order]
    model = nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
    )
    for parameter in model.parameters():
        bound = 1 / parameter.shape[-1] ** 0.5 if parameter.dim() > 1 else 0.0
        parameter.data.uniform_(-bound, bound, generator=source)
    optimizer = QIASO(model.parameters(), 0)
    for step in range(500):
        chosen = torch.randint(1347, (256,), generator=source)
        optimizer.tell(optimizer.evaluate(model, cross_entropy, (images[chosen], targets[chosen])))
        if step % 5 == 4:
            optimizer.epoch_end()
    with torch.no_grad():
        accuracy = (model(images[1347:]).argmax(1) == targets[1347:]).float().mean()
    assert accuracy > 0.85
