"""QuantumTunneling on two gloo ranks.

DDP and FSDP2 runs equal a single process, and a run continues from a distributed checkpoint to the
last bit.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from hybridq.errors import InvalidArgument
from hybridq.optim.tunneling import QuantumTunneling, TunnelingOptions
from tests.optim._ranks import run_on_ranks

pytestmark = pytest.mark.slow  # Starting the processes is slow.

N_EPOCHS, STEPS_PER_EPOCH = 6, 2
OPTIONS = {
    "recommended": TunnelingOptions(),
    "literal": TunnelingOptions.literal(),
    "steps": TunnelingOptions(unit="step", reset="scale"),
    "revert": TunnelingOptions(revert_after=1, reset="keep"),
}
Weights = dict[str, Tensor]


class Model(nn.Module):
    """With tied weights, and a bias of one entry, of which the second rank has none."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 3)
        self.back = nn.Linear(3, 5, bias=False)
        self.again = nn.Linear(3, 5, bias=False)
        self.again.weight = self.back.weight
        self.last = nn.Linear(5, 1)
        source = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=source, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        result: Tensor = self.last(torch.tanh(self.back(hidden)) + self.again(hidden))
        return result


def sharded_model() -> nn.Module:
    model: nn.Module = fully_shard(Model(), mesh=init_device_mesh("cpu", (2,)))
    return model


def wrapped(model: nn.Module, options: TunnelingOptions) -> QuantumTunneling:
    base = torch.optim.AdamW(model.parameters(), lr=0.05)
    return QuantumTunneling(base, interval=2, strength=0.3, options=options, seed=4, diagnose=True)


def train(
    model: nn.Module, optimizer: QuantumTunneling, first: int, last: int, rank: int | None = None
) -> None:
    """Run the epochs first + 1 to last.

    A rank sees its half of each batch, so that the mean of the halves is that of the batch.
    """
    for epoch in range(first, last):
        for step in range(epoch * STEPS_PER_EPOCH, (epoch + 1) * STEPS_PER_EPOCH):
            x = torch.randn(
                8, 5, generator=torch.Generator().manual_seed(step), dtype=torch.float64
            )
            x = x if rank is None else x[rank::2]
            optimizer.zero_grad()
            torch.autograd.backward(((model(x) - x.sum(1, keepdim=True)) ** 2).mean())
            optimizer.step()
        # The metric gets worse, so each jump that may be taken back is.
        optimizer.epoch_end(metric=float(epoch))


def whole(model: nn.Module) -> Weights:
    options = StateDictOptions(full_state_dict=True)
    return {
        name: value.clone() for name, value in get_model_state_dict(model, options=options).items()
    }


def one_process(options: TunnelingOptions) -> tuple[Weights, Any]:
    model = Model()
    optimizer = wrapped(model, options)
    train(model, optimizer, 0, N_EPOCHS)
    return whole(model), optimizer.diagnosis


def data_parallel(rank: int, options: TunnelingOptions) -> tuple[Weights, Any]:
    model = Model()
    replica = DistributedDataParallel(model)
    optimizer = wrapped(replica, options)
    train(replica, optimizer, 0, N_EPOCHS, rank)
    return whole(model), optimizer.diagnosis


def fully_sharded(rank: int, options: TunnelingOptions) -> tuple[Weights, Any]:
    model = sharded_model()
    optimizer = wrapped(model, options)
    train(model, optimizer, 0, N_EPOCHS, rank)
    return whole(model), optimizer.diagnosis


def resumed(rank: int, options: TunnelingOptions, folder: str, flatten: bool) -> Weights:
    """Stop after 3 epochs, save, and go on with a new model and a new optimizer."""
    how = StateDictOptions(flatten_optimizer_state_dict=flatten)

    def state_of(model: nn.Module, optimizer: QuantumTunneling) -> dict[str, Any]:
        state = get_optimizer_state_dict(model, optimizer, options=how)
        return {"model": get_model_state_dict(model), "optimizer": state}

    model = sharded_model()
    optimizer = wrapped(model, options)
    train(model, optimizer, 0, 3, rank)
    dcp.save(state_of(model, optimizer), checkpoint_id=folder)

    model = sharded_model()
    optimizer = wrapped(model, options)
    loaded = state_of(model, optimizer)
    dcp.load(loaded, checkpoint_id=folder)
    set_model_state_dict(model, loaded["model"])
    set_optimizer_state_dict(model, optimizer, loaded["optimizer"], options=how)
    train(model, optimizer, 3, N_EPOCHS, rank)
    return whole(model)


def refused(rank: int) -> str:
    """A NaN in the shard of the second rank only."""
    model = sharded_model()
    optimizer = wrapped(model, TunnelingOptions(check_finite=True))
    torch.autograd.backward(model(torch.ones(2, 5, dtype=torch.float64)).sum())
    if rank == 1:
        model.get_parameter("back.weight").grad.to_local()[-1] = float("nan")  # type: ignore[union-attr]
    try:
        optimizer.step()
    except InvalidArgument as error:
        return str(error)
    return "no error"


def everything(rank: int, folder: str) -> dict[str, Any]:
    """All runs in one process group: starting the processes takes longer than the runs."""
    results: dict[str, Any] = {}
    for name, options in OPTIONS.items():
        results[f"ddp {name}"] = data_parallel(rank, options)
        results[f"fsdp {name}"] = fully_sharded(rank, options)
        results[f"resumed {name}"] = resumed(rank, options, f"{folder}/{name}", flatten=False)
    results["refused"] = refused(rank)
    results["resumed flat"] = resumed(rank, OPTIONS["recommended"], f"{folder}/flat", flatten=True)
    return results


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("checkpoints")
    return run_on_ranks(everything, folder=str(folder))


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_ranks_equal_one_process(ranks: list[dict[str, Any]], kind: str, name: str) -> None:
    weights, record = one_process(OPTIONS[name])
    for rank in ranks:
        result, diagnosis = rank[f"{kind} {name}"]
        for key, value in weights.items():
            torch.testing.assert_close(result[key], value, rtol=1e-10, atol=1e-10)
        assert diagnosis.step == record.step
        assert diagnosis.epoch == record.epoch
        assert diagnosis.jumps == record.jumps
        assert diagnosis.norm == pytest.approx(record.norm, rel=1e-10)
    # The ranks do not drift apart at all.
    first, second = (rank[f"{kind} {name}"][0] for rank in ranks)
    assert all(torch.equal(first[key], second[key]) for key in weights)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_distributed_checkpoint_continues_to_the_last_bit(
    ranks: list[dict[str, Any]], name: str
) -> None:
    for rank in ranks:
        expected = rank[f"fsdp {name}"][0]
        assert all(
            torch.equal(rank[f"resumed {name}"][key], value) for key, value in expected.items()
        )


def test_a_flat_distributed_checkpoint_does_too(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        expected = rank["fsdp recommended"][0]
        assert all(torch.equal(rank["resumed flat"][key], value) for key, value in expected.items())


def test_all_ranks_refuse_a_gradient_that_is_not_finite_on_one(ranks: list[dict[str, Any]]) -> None:
    assert "parameter 2 of group 0, of shape (5, 3)" in ranks[0]["refused"]
    assert ranks[0]["refused"] == ranks[1]["refused"]
