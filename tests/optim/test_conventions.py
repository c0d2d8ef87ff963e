"""Conventions that a torch user takes for granted.

They concern checkpoints, closures, groups, hooks, and tied and frozen parameters.
"""

import copy
import io
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import Parameter

from hybridq.errors import CheckpointMismatch
from hybridq.optim import (
    AbstractPerturbation,
    GaussianNoise,
    Place,
    SuperpositionalAdam,
    SuperpositionalOptions,
    UniformNoise,
)
from hybridq.optim._perturbations import Forms
from tests.optim._runs import STEPS, advance, assert_same, parameters, run

OPTIONS = {
    "recommended": SuperpositionalOptions.recommended(),
    "literal": SuperpositionalOptions.literal(),
    "noise": SuperpositionalOptions(perturbation=GaussianNoise(seed=5), entries="all"),
    "moments": SuperpositionalOptions(acts_on="moments"),
}


class Double(AbstractPerturbation):
    """A perturbation of one's own."""

    name = "double"

    def factors(self, thetas: Sequence[Tensor], step: int, places: Sequence[Place]) -> Tensor:
        return torch.cat([torch.full_like(theta, 2.0) for theta in thetas])


def through_a_file(state: dict[str, Any]) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def half(step: int) -> float:
    return 1.0 / (1 + step)


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_resumed_from_a_checkpoint_continues_to_the_last_bit(
    name: str, dtype: torch.dtype, foreach: bool
) -> None:
    def build(params: list[Parameter]) -> SuperpositionalAdam:
        groups = [{"params": params[:2], "strength": 0.3}, {"params": params[2:], "lr": 0.02}]
        return SuperpositionalAdam(
            groups, lr=0.01, weight_decay=0.1, options=OPTIONS[name], foreach=foreach
        )

    expected = run(build, dtype)
    params = parameters(dtype)
    first = build(params)
    advance(first, params, 0, 7)
    state = through_a_file(first.state_dict())
    # The checkpoint knows all other arguments.
    resumed = SuperpositionalAdam([{"params": params[:2]}, {"params": params[2:]}])
    resumed.load_state_dict(state)
    advance(resumed, params, 7, STEPS)
    assert_same([param.detach() for param in params], expected)


def test_a_mask_is_in_the_checkpoint() -> None:
    def masks(params: list[Parameter]) -> list[Tensor]:
        return [torch.arange(p.numel()).reshape(p.shape) % 2 == 0 for p in params]

    def build(params: list[Parameter]) -> SuperpositionalAdam:
        return SuperpositionalAdam([{"params": params, "entries": "mask", "mask": masks(params)}])

    params = parameters()
    first = build(params)
    advance(first, params, 0, 7)
    resumed = SuperpositionalAdam(params)
    resumed.load_state_dict(through_a_file(first.state_dict()))
    advance(resumed, params, 7, STEPS)
    assert_same([param.detach() for param in params], run(build))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda whole: pickle.loads(pickle.dumps(whole))])  # noqa: S301
def test_a_copy_continues_alike(clone: Any) -> None:
    params = parameters()
    options = SuperpositionalOptions(perturbation=Double())
    optimizer = SuperpositionalAdam(params, strength=half, options=options)
    advance(optimizer, params, 0, 3)
    copied, twin = clone((params, optimizer))
    advance(optimizer, params, 3, 6)
    advance(twin, copied, 3, 6)
    assert_same([p.detach() for p in params], [p.detach() for p in copied])


def test_a_pickle_of_an_earlier_version_continues_alike() -> None:
    """Such a pickle has other names for the perturbation objects."""
    params = parameters()
    options = SuperpositionalOptions(perturbation=Double())
    optimizer = SuperpositionalAdam(params, options=options)
    advance(optimizer, params, 0, 3)
    forms = Forms.__new__(Forms)
    forms.__setstate__({"_own": {"double": Double()}, "_known": {}})
    state = optimizer.__getstate__() | {"_forms": forms}
    del state["_perturbations"]
    old = SuperpositionalAdam.__new__(SuperpositionalAdam)
    copied, state = copy.deepcopy((params, state))
    old.__setstate__(state)
    advance(optimizer, params, 3, 6)
    advance(old, copied, 3, 6)
    assert_same([p.detach() for p in params], [p.detach() for p in copied])


def test_a_strength_that_is_a_function_must_be_given_again() -> None:
    params = parameters()
    first = SuperpositionalAdam(params, strength=half)
    advance(first, params, 0, 7)
    state = through_a_file(first.state_dict())
    with pytest.raises(CheckpointMismatch, match="strength"):
        SuperpositionalAdam(params).load_state_dict(state)
    resumed = SuperpositionalAdam(params, strength=half)
    resumed.load_state_dict(state)
    advance(resumed, params, 7, STEPS)
    assert_same([p.detach() for p in params], run(lambda p: SuperpositionalAdam(p, strength=half)))


def test_a_perturbation_of_ones_own_must_be_given_again() -> None:
    params = parameters()
    options = SuperpositionalOptions(perturbation=Double())
    first = SuperpositionalAdam(params, options=options)
    advance(first, params, 0, 7)
    state = through_a_file(first.state_dict())
    with pytest.raises(CheckpointMismatch, match="double"):
        SuperpositionalAdam(params).load_state_dict(state)
    resumed = SuperpositionalAdam(params, options=options)
    resumed.load_state_dict(state)
    advance(resumed, params, 7, STEPS)
    assert_same(
        [p.detach() for p in params], run(lambda p: SuperpositionalAdam(p, options=options))
    )


@pytest.mark.parametrize(
    ("kind", "decay"), [(torch.optim.AdamW, "decoupled"), (torch.optim.Adam, "l2")]
)
def test_a_checkpoint_of_torchs_adam_can_be_continued(kind: Any, decay: str) -> None:
    params = parameters()
    first = kind(params, lr=0.02, weight_decay=0.1)
    advance(first, params, 0, 7)
    resumed = SuperpositionalAdam(params, strength=0.0)
    resumed.load_state_dict(through_a_file(first.state_dict()))
    assert resumed.param_groups[0]["decay"] == decay
    advance(resumed, params, 7, STEPS)
    assert_same([p.detach() for p in params], run(lambda p: kind(p, lr=0.02, weight_decay=0.1)))


def test_a_checkpoint_of_another_model_is_refused() -> None:
    params = parameters(shapes=((2, 3),))
    first = SuperpositionalAdam(params)
    advance(first, params, 0, 1)
    other = SuperpositionalAdam(parameters(shapes=((3, 2),)))
    with pytest.raises(CheckpointMismatch, match=r"parameter 0 .*\(2, 3\).*\(3, 2\)"):
        other.load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match="doesn't match the size"):
        SuperpositionalAdam(parameters(shapes=((2, 3), (1,)))).load_state_dict(first.state_dict())


@pytest.mark.parametrize("kind", [GaussianNoise, UniformNoise])
def test_noise_follows_from_its_seed(kind: Any) -> None:
    def noisy(seed: int) -> list[Tensor]:
        return run(
            lambda p: SuperpositionalAdam(
                p, options=SuperpositionalOptions(perturbation=kind(seed=seed))
            )
        )

    torch.manual_seed(0)
    once = noisy(1)
    torch.manual_seed(1)
    assert_same(once, noisy(1))
    assert any(not torch.equal(a, b) for a, b in zip(once, noisy(2), strict=True))


@pytest.mark.parametrize("place", [(1, Place(0, 1)), (1, Place(1, 0)), (2, Place(0, 0))])
@pytest.mark.parametrize("kind", [GaussianNoise, UniformNoise])
def test_noise_differs_from_step_to_step_and_from_place_to_place(
    kind: Any, place: tuple[int, Place]
) -> None:
    theta = torch.zeros(8)
    here = kind().factors([theta], 1, [Place(0, 0)])
    assert not torch.equal(here, kind().factors([theta], place[0], [place[1]]))
    assert torch.equal(here, kind().factors([theta], 1, [Place(0, 0)]))


def test_noise_has_its_distribution() -> None:
    theta, n = torch.zeros(100_000, dtype=torch.float64), 100_000
    gauss = GaussianNoise(seed=1).factors([theta], 1, [Place(0, 0)])
    uniform = UniformNoise(seed=1).factors([theta], 1, [Place(0, 0)])
    assert abs(gauss.mean()) < 5 / n**0.5  # 5 sigma
    assert abs(gauss.var() - 1) < 5 * (2 / n) ** 0.5
    assert abs(uniform.mean()) < 5 * (1 / 3 / n) ** 0.5
    assert abs(uniform.var() - 1 / 3) < 5 * ((1 / 5 - 1 / 9) / n) ** 0.5
    assert uniform.abs().max() <= 1


def test_a_closure_has_gradients_and_its_loss_is_returned() -> None:
    weight = Parameter(torch.tensor([1.0]))
    optimizer = SuperpositionalAdam([weight], lr=0.1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (weight**2).sum()
        torch.autograd.backward(loss)
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == 1.0  # type: ignore[arg-type, union-attr]
    assert weight.item() != 1.0
    assert optimizer.step() is None


def test_hooks_and_schedulers() -> None:
    params = parameters()
    optimizer = SuperpositionalAdam(params, lr=1.0)
    seen: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.0)
    advance(optimizer, params, 0, 1)
    scheduler.step()
    before = [param.detach().clone() for param in params]
    advance(optimizer, params, 1, 2)
    assert_same(before, [param.detach() for param in params])
    assert seen == ["before", "after"] * 2


def test_a_tensor_learning_rate_is_read_at_each_step() -> None:
    rate = torch.tensor(0.25)
    params = parameters()
    optimizer = SuperpositionalAdam(params, lr=rate)
    advance(optimizer, params, 0, 3)
    rate.fill_(0.5)
    advance(optimizer, params, 3, 6)
    plain = parameters()
    expected = SuperpositionalAdam(plain, lr=0.25)
    advance(expected, plain, 0, 3)
    expected.param_groups[0]["lr"] = 0.5
    advance(expected, plain, 3, 6)
    assert_same([p.detach() for p in params], [p.detach() for p in plain])


@pytest.mark.parametrize("named", [True, False])
def test_a_parameter_listed_twice_is_stepped_once(named: bool) -> None:
    weight = Parameter(torch.tensor([1.0]))
    params: list[Any] = [("a", weight), ("b", weight)] if named else [weight, weight]
    optimizer = SuperpositionalAdam(params, lr=0.1, strength=0.0)
    weight.grad = torch.ones(1)
    optimizer.step()
    assert weight.item() == pytest.approx(0.9)


def test_a_group_may_be_a_single_tensor() -> None:
    weight = Parameter(torch.tensor(1.0))
    optimizer = SuperpositionalAdam([{"params": weight}], lr=0.1, strength=0.0)
    weight.grad = torch.tensor(1.0)
    optimizer.step()
    assert weight.item() == pytest.approx(0.9)
    with pytest.raises(TypeError, match="ordered collections"):
        SuperpositionalAdam([{"params": {weight}}])


def test_two_parameters_with_one_memory_are_perturbed_once() -> None:
    weight = Parameter(torch.tensor([0.5], dtype=torch.float64))
    alias = Parameter(weight.data)
    optimizer = SuperpositionalAdam([weight, alias], lr=0.1, strength=0.5)
    weight.grad = torch.ones_like(weight)
    alias.grad = torch.zeros_like(alias)
    optimizer.step()
    assert weight.item() == pytest.approx(0.5 - 0.15)
    weight = Parameter(torch.tensor([0.5], dtype=torch.float64))
    alias = Parameter(weight.data)
    optimizer = SuperpositionalAdam([weight, alias], lr=0.1, strength=0.5)
    alias.grad = torch.ones_like(alias)
    optimizer.step()
    assert weight.item() == pytest.approx(0.5 - 0.1)


def test_tied_weights_of_a_model_count_once_in_the_global_order() -> None:
    layers = [nn.Linear(1, 1, bias=False) for _ in range(3)]
    layers[1].weight = layers[0].weight
    model = nn.Sequential(*layers)
    options = SuperpositionalOptions(entries="global", n_qubits=2)
    optimizer = SuperpositionalAdam(
        [layer.weight for layer in layers], lr=0.1, strength=0.5, options=options
    )
    for param in model.parameters():
        param.data.fill_(0.5)
        param.grad = torch.ones_like(param)
    optimizer.step()
    assert [param.item() for param in model.parameters()] == pytest.approx([0.5 - 0.15, 0.5 - 0.15])


@pytest.mark.parametrize("foreach", [True, False])
def test_the_choice_does_not_depend_on_which_gradients_there_are(foreach: bool) -> None:
    first, second = (Parameter(torch.tensor([0.5], dtype=torch.float64)) for _ in range(2))
    options = SuperpositionalOptions(entries="global", n_qubits=1)
    optimizer = SuperpositionalAdam(
        [first, second], lr=0.1, strength=0.5, options=options, foreach=foreach
    )
    second.grad = torch.ones_like(second)
    optimizer.step()
    assert first.item() == 0.5
    assert second.item() == pytest.approx(0.4)


def test_a_group_added_later_leaves_the_choice_of_the_others() -> None:
    first, second = (Parameter(torch.tensor([0.5], dtype=torch.float64)) for _ in range(2))
    options = SuperpositionalOptions(entries="global", n_qubits=2)
    optimizer = SuperpositionalAdam([first], lr=0.1, strength=0.5, options=options)
    first.grad, second.grad = torch.ones_like(first), torch.ones_like(second)
    optimizer.step()
    optimizer.add_param_group({"params": [second]})
    assert [first.item(), second.item()] == pytest.approx([0.35, 0.5])
    first.data.fill_(0.5)
    optimizer.step()
    assert [first.item(), second.item()] == pytest.approx([0.35, 0.35])


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("what", ["param", "exp_avg", "exp_avg_sq"])
def test_what_moves_in_memory_is_followed(what: str, foreach: bool) -> None:
    def moving(move: bool) -> list[Tensor]:
        params = parameters()
        optimizer = SuperpositionalAdam(params, lr=0.1, foreach=foreach)
        for step in range(4):
            advance(optimizer, params, step, step + 1)
            if move:
                for param in params:
                    moved = param if what == "param" else optimizer.state[param][what]
                    moved.data = moved.data.clone()
        return [param.detach() for param in params]

    assert_same(moving(True), moving(False))


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("maximize", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_gradients_are_left_alone(weight_decay: float, maximize: bool, foreach: bool) -> None:
    options = SuperpositionalOptions(acts_on="moments", decay="l2", entries="all")
    params = parameters()
    optimizer = SuperpositionalAdam(
        params, weight_decay=weight_decay, options=options, foreach=foreach, maximize=maximize
    )
    advance(optimizer, params, 0, 1)
    reference = parameters()
    advance(torch.optim.Adam(reference), reference, 0, 1)
    for ours, theirs in zip(params, reference, strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.equal(ours.grad, theirs.grad)


def test_nan_goes_where_torchs_adam_lets_it_go() -> None:
    weight = Parameter(torch.tensor([1.0, 1.0]))
    weight.grad = torch.tensor([float("nan"), 1.0])
    SuperpositionalAdam([weight]).step()
    assert weight.isnan().tolist() == [True, False]


def test_unused_and_empty_parameters() -> None:
    frozen, empty = Parameter(torch.ones(2)), Parameter(torch.empty(0))
    empty.grad = torch.empty(0)
    optimizer = SuperpositionalAdam([frozen, empty])
    optimizer.step()
    assert frozen.tolist() == [1.0, 1.0]
    assert frozen not in optimizer.state
