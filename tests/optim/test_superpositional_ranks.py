"""Two ranks give what one process gives: FSDP2, DDP, and checkpoints that travel between them."""

import copy
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from hybridq.errors import InvalidArgument
from hybridq.optim import (
    CircuitPerturbation,
    GaussianNoise,
    SuperpositionalAdam,
    SuperpositionalOptions,
)
from tests.optim._ranks import run_on_ranks

pytestmark = pytest.mark.slow  # The first test starts the ranks.

STEPS = 4
OPTIONS: dict[str, SuperpositionalOptions] = {
    "per_tensor": SuperpositionalOptions(),
    "six_of_each": SuperpositionalOptions(n_qubits=6),  # It reaches into rank 1.
    "global": SuperpositionalOptions(entries="global", n_qubits=19),
    "tensors": SuperpositionalOptions(entries="tensors", n_qubits=2),
    "all": SuperpositionalOptions(entries="all"),
    "mask": SuperpositionalOptions(entries="mask"),
    "noise": SuperpositionalOptions(n_qubits=6, perturbation=GaussianNoise(seed=3)),
    "all_noise": SuperpositionalOptions(entries="all", perturbation=GaussianNoise(seed=3)),
    "moments": SuperpositionalOptions(acts_on="moments", n_qubits=6),
}
LAYOUT = (Shard(1), Shard(0), Shard(1), Replicate(), Shard(1), Shard(0))


def model() -> nn.Module:
    """Rows that two ranks share evenly, unevenly, and one that only the first rank holds."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)
    ).double()


def build(parameters: list[nn.Parameter], name: str, foreach: bool = True) -> SuperpositionalAdam:
    masks = [(torch.arange(p.numel()) % 3 != 1).reshape(p.shape) for p in parameters]
    group: dict[str, Any] = {"params": parameters} | ({"mask": masks} if name == "mask" else {})
    return SuperpositionalAdam(
        [group], lr=0.05, weight_decay=0.1, options=OPTIONS[name], foreach=foreach
    )


def batch(step: int) -> Tensor:
    return torch.randn(8, 3, generator=torch.Generator().manual_seed(step), dtype=torch.float64)


def train(network: nn.Module, optimizer: SuperpositionalAdam, first: int, last: int) -> None:
    """Train on the same batch on every rank, so the mean over the ranks is that of one process."""
    for step in range(first, last):
        optimizer.zero_grad()
        torch.autograd.backward((network(batch(step)) ** 2).mean())
        optimizer.step()


def full(parameters: Any) -> list[Tensor]:
    return [(p.full_tensor() if isinstance(p, DTensor) else p).detach().clone() for p in parameters]


def alone(name: str) -> list[Tensor]:
    network = model()
    train(network, build(list(network.parameters()), name), 0, STEPS)
    return full(network.parameters())


def sharded() -> nn.Module:
    network = model()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in network.children():
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(network, mesh=mesh)
    return network


def on_fsdp() -> dict[str, list[Tensor]]:
    weights = {}
    for name in OPTIONS:
        for foreach in (True, False):
            network = sharded()
            train(network, build(list(network.parameters()), name, foreach), 0, STEPS)
            weights[f"{name}-{foreach}"] = full(network.parameters())
    return weights


def on_ddp() -> list[Tensor]:
    network = DistributedDataParallel(model())
    train(network, build(list(network.parameters()), "six_of_each"), 0, STEPS)
    return full(network.parameters())


def through_a_checkpoint(whole: bool) -> list[Tensor]:
    """Stop, and go on with a new model and a new optimizer from a distributed checkpoint."""
    options = StateDictOptions(full_state_dict=whole, broadcast_from_rank0=False)
    network = sharded()
    optimizer = build(list(network.parameters()), "noise")
    train(network, optimizer, 0, 2)
    saving = StateDictOptions(full_state_dict=whole)
    state = get_optimizer_state_dict(network, optimizer, options=saving)
    weights = [param.detach().clone() for param in network.parameters()]
    resumed = sharded()
    for param, weight in zip(resumed.parameters(), weights, strict=True):
        param.detach().copy_(weight)
    # The checkpoint knows all other arguments.
    again = SuperpositionalAdam(list(resumed.parameters()), lr=0.5, foreach=True)
    set_optimizer_state_dict(resumed, again, copy.deepcopy(state), options=options)
    train(resumed, again, 2, STEPS)
    return full(resumed.parameters())


def on_a_mesh() -> dict[str, list[Tensor]]:
    """Tensors that are split in other ways than by rows, with gradients that are not split."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    weights = {}
    for name in OPTIONS:
        parameters = []
        for whole, placement in zip(model().parameters(), LAYOUT, strict=True):
            parameters.append(nn.Parameter(distribute_tensor(whole.detach(), mesh, [placement])))
        optimizer = build(parameters, name)
        for step in range(STEPS):
            for param, grad in zip(parameters, fixed(step), strict=True):
                param.grad = distribute_tensor(grad, mesh, [Replicate()])
            optimizer.step()
        weights[name] = full(parameters)
    return weights


def fixed(step: int) -> list[Tensor]:
    source = torch.Generator().manual_seed(step)
    return [
        torch.randn(p.shape, generator=source, dtype=torch.float64) for p in model().parameters()
    ]


def refusals(rank: int) -> list[str]:
    network = sharded()
    parameters = list(network.parameters())
    messages = []
    options = SuperpositionalOptions(perturbation=CircuitPerturbation())
    for optimizer in (
        SuperpositionalAdam(parameters, check_finite=True),
        SuperpositionalAdam(parameters, options=options),
    ):
        torch.autograd.backward((network(batch(0)) ** 2).mean())
        # The NaN lies in the shard of one rank, and all ranks must notice it.
        if optimizer.param_groups[0]["check_finite"] and rank == 1:
            parameters[0].grad.to_local().fill_(float("nan"))  # type: ignore[union-attr]
        with pytest.raises(InvalidArgument) as error:
            optimizer.step()
        messages.append(str(error.value))
        optimizer.zero_grad()
    return messages


def everything(rank: int) -> dict[str, Any]:
    """All that the tests need, because starting the ranks takes longer than what they do."""
    return {
        "fsdp": on_fsdp(),
        "ddp": on_ddp(),
        "mesh": on_a_mesh(),
        "checkpoint": through_a_checkpoint(whole=False),
        "whole_checkpoint": through_a_checkpoint(whole=True),
        "refusals": refusals(rank),
    }


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, Any]]:
    return run_on_ranks(everything)


def assert_close(left: list[Tensor], right: list[Tensor]) -> None:
    for a, b in zip(left, right, strict=True):
        # Four steps of a dozen roundings each in float64; ranks sum gradients in another order.
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("name", OPTIONS)
def test_fsdp_equals_a_single_process(
    ranks: list[dict[str, Any]], name: str, foreach: bool
) -> None:
    for rank in ranks:
        assert_close(rank["fsdp"][f"{name}-{foreach}"], alone(name))


@pytest.mark.parametrize("name", OPTIONS)
def test_any_layout_equals_plain_tensors(ranks: list[dict[str, Any]], name: str) -> None:
    parameters = list(model().parameters())
    optimizer = build(parameters, name)
    for step in range(STEPS):
        for param, grad in zip(parameters, fixed(step), strict=True):
            param.grad = grad
        optimizer.step()
    for rank in ranks:
        assert_close(rank["mesh"][name], full(parameters))


def test_ddp_equals_a_single_process(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert_close(rank["ddp"], alone("six_of_each"))


@pytest.mark.parametrize("kind", ["checkpoint", "whole_checkpoint"])
def test_a_distributed_checkpoint_continues_the_run(ranks: list[dict[str, Any]], kind: str) -> None:
    for rank in ranks:
        assert_close(rank[kind], alone("noise"))


def test_all_ranks_refuse_together(ranks: list[dict[str, Any]]) -> None:
    first, second = (rank["refusals"] for rank in ranks)
    assert first == second
    assert "parameter 0 of group 0" in first[0]
    assert "one rank" in first[1]
