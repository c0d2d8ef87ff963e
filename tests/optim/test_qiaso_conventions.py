"""Conventions of QIASO that a torch user takes for granted.

They concern checkpoints, groups, tied and frozen parameters, dtypes and clear errors.
"""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import Parameter

from hybridq.errors import CheckpointMismatch, InvalidArgument
from hybridq.optim._qiaso import layout
from hybridq.optim.qiaso import QIASO, QIASOOptions
from tests.optim._runs import assert_same
from tests.optim._runs import parameters as parameters_of

OPTIONS = {
    "recommended": QIASOOptions(n_candidates=6),
    "literal": QIASOOptions(
        6,
        eta=20.0,
        losses="raw",
        collapse_to="argmax",
        collapse_when="epoch",
        tunnel_probability=1.0,
    ),
    "greedy": QIASOOptions(
        1, collapse_when="epoch", accept="if_better", tunnel_best=True, tunnel_probability=1.0
    ),
    "ess": QIASOOptions(
        6, collapse_when="ess", accept="if_better", keep_best=True, jump_size="corrected"
    ),
    "tensor": QIASOOptions(3, unit="tensor", collapse_when="epoch", keep_best=True),
    "coordinate": QIASOOptions(3, unit="coordinate", collapse_when="epoch"),
}
every_setting = pytest.mark.parametrize("name", OPTIONS)
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


SHAPES = ((), (3,), (2, 4))  # The last one is not contiguous.


def parameters(
    dtype: torch.dtype = torch.float32, shapes: tuple[tuple[int, ...], ...] = SHAPES
) -> list[Parameter]:
    return parameters_of(dtype, shapes)


def squares(params: list[Parameter]) -> Callable[[], Tensor]:
    return lambda: torch.stack([(p.double() - 0.3).square().sum() for p in params]).sum()


def train(optimizer: QIASO, params: list[Parameter], first: int, last: int) -> None:
    for step in range(first, last):
        optimizer.step(squares(params))
        if step % 4 == 3:
            optimizer.epoch_end()


def plain(value: Any) -> Any:
    """Tensors as lists, in a copy that can be compared."""
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def through_a_file(state: dict[str, Any]) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(
    ("stop", "dtype"),
    [(0, torch.bfloat16), (3, torch.float32), (4, torch.float64), (6, torch.bfloat16)],
)
@every_setting
def test_a_run_resumed_from_a_checkpoint_continues_to_the_last_bit(
    name: str, dtype: torch.dtype, stop: int
) -> None:
    def groups(params: list[Parameter]) -> list[dict[str, Any]]:
        return [{"params": params[:2], "sigma": 0.1, "epsilon": 0.3}, {"params": params[2:]}]

    whole = parameters(dtype)
    unbroken = QIASO(groups(whole), 1, OPTIONS[name])
    train(unbroken, whole, 0, 9)
    params = parameters(dtype)
    first = QIASO(groups(params), 1, OPTIONS[name])
    train(first, params, 0, stop)
    state = through_a_file(first.state_dict())
    copies = [Parameter(param.detach().clone()) for param in params]
    # The checkpoint knows all other arguments.
    resumed = QIASO([{"params": copies[:2]}, {"params": copies[2:]}], seed=99)
    resumed.load_state_dict(state)
    train(resumed, copies, stop, 9)
    assert_same(list(whole), list(copies))
    assert resumed.best.loss == unbroken.best.loss
    assert (resumed.best.seen is None) == (not OPTIONS[name].keep_best)
    if resumed.best.seen is not None and unbroken.best.seen is not None:
        assert_same(resumed.best.seen, unbroken.best.seen)


@every_setting
def test_a_loaded_state_is_not_changed_by_further_steps(name: str) -> None:
    params = parameters()
    first = QIASO(params, 1, OPTIONS[name])
    train(first, params, 0, 3)
    state = first.state_dict()
    kept = plain(state)
    resumed = QIASO(params, 1)
    resumed.load_state_dict(state)
    train(resumed, params, 3, 6)
    assert plain(state) == kept


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda whole: pickle.loads(pickle.dumps(whole))])  # noqa: S301
@every_setting
def test_a_copy_continues_alike(name: str, clone: Any) -> None:
    params = parameters()
    optimizer = QIASO(params, 1, OPTIONS[name], diagnose=True, barrier=0.1)
    train(optimizer, params, 0, 3)
    copied, twin = clone((params, optimizer))
    train(optimizer, params, 3, 6)
    train(twin, copied, 3, 6)
    assert_same(list(params), list(copied))
    assert twin.diagnosis == optimizer.diagnosis


@every_setting
def test_ask_and_tell_do_what_step_does(name: str) -> None:
    stepped, told = parameters(), parameters()
    first, second = QIASO(stepped, 1, OPTIONS[name]), QIASO(told, 1, OPTIONS[name])
    for _ in range(4):
        loss = first.step(squares(stepped))
        losses = [
            squares([Parameter(w) for w in second.weights(candidate)])().item()
            for candidate in second.ask()
        ]
        assert second.tell(losses) == loss
        assert_same(list(stepped), list(told))


def test_step_returns_the_expected_loss() -> None:
    weight = Parameter(torch.tensor([2.0, -1.0], dtype=torch.float64))
    optimizer = QIASO([weight], 0)
    losses = torch.stack(
        [optimizer.weights(candidate)[0].square().sum() for candidate in optimizer.ask()]
    )
    p = (-(losses - losses.mean()) / losses.std(correction=0)).softmax(0)
    assert optimizer.step(lambda: weight.square().sum()) == pytest.approx(
        (p * losses).sum().item(), rel=1e-12
    )


@every_setting
def test_noise_follows_from_the_seed_alone(name: str) -> None:
    def run(seed: int) -> list[Parameter]:
        params = parameters()
        train(QIASO(params, seed, OPTIONS[name]), params, 0, 4)
        return params

    torch.manual_seed(0)
    before = torch.get_rng_state()
    once = run(1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert_same(list(once), list(run(1)))
    assert all(not torch.equal(a, b) for a, b in zip(once, run(2), strict=True))


def test_visiting_ends_at_the_centre_to_the_last_bit_whatever_happens() -> None:
    for options in OPTIONS.values():
        params = parameters()
        before = [param.detach().clone() for param in params]
        optimizer = QIASO(params, 0, options)
        with pytest.raises(ZeroDivisionError), optimizer.visiting() as visit:  # noqa: PT012
            visit(optimizer.ask()[0])
            visit(optimizer.ask()[-1])
            assert not all(torch.equal(a, b) for a, b in zip(params, before, strict=True))
            raise ZeroDivisionError
        assert_same(list(params), before)


def test_the_entries_are_covered_however_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    for entries in (1, 4, 5, 7, 2**18):
        monkeypatch.setattr(layout, "_ENTRIES", entries)
        params = parameters(torch.float64)
        groups: list[dict[str, Any]] = [
            {"params": params[:1]},
            {"params": params[1:], "sigma_start": 0.5},
        ]
        optimizer = QIASO(groups, 0)
        before = [param.detach().clone() for param in params]
        points = [optimizer.weights(candidate) for candidate in optimizer.ask()]
        for point in points:
            assert not any((a == b).any() for a, b in zip(point, before, strict=True))
        drawn = torch.cat(
            [
                (a - b).reshape(-1)
                for point in points
                for a, b in zip(point[1:], before[1:], strict=True)
            ]
        )
        assert len(set(drawn.tolist())) == len(drawn)
        assert abs(drawn.std() - 0.5) < 5 * 0.5 / (2 * len(drawn)) ** 0.5  # 5 sigma
        losses = torch.stack(
            [torch.cat([w.reshape(-1) for w in point]).square().sum() for point in points]
        )
        p = (-(losses - losses.mean()) / losses.std(correction=0)).softmax(0)
        optimizer.tell(losses)
        for number, param in enumerate(params):
            places = torch.stack([point[number] for point in points])
            mean = places.mul(p.view(-1, *[1] * param.dim())).sum(0)
            torch.testing.assert_close(param.detach(), mean, rtol=0, atol=1e-12)


def test_a_group_has_its_own_sizes_and_may_be_added_later() -> None:
    first, second, third = (Parameter(torch.zeros(1000)) for _ in range(3))
    still = {"sigma_start": 0.0, "sigma": 0.0, "epsilon": 0.0}
    groups: list[dict[str, Any]] = [{"params": [first]}, {"params": second, **still}]
    optimizer = QIASO(groups, 0, QIASOOptions(collapse_when="epoch"))
    optimizer.step(lambda: (first - 1).square().sum() + second.sum())
    optimizer.add_param_group({"params": [third], "sigma": 0.3})
    optimizer.step(lambda: (first - 1).square().sum() + third.square().sum())
    spread = [
        torch.stack([optimizer.weights(c)[n] for c in optimizer.ask()]).std() for n in range(3)
    ]
    assert spread[1] == 0
    assert spread[2] / spread[0] > 5
    optimizer.epoch_end()
    assert second.abs().max() == 0
    assert min(first.abs().max(), third.abs().max()) > 0


@pytest.mark.parametrize("named", [True, False])
def test_frozen_parameters_stay_and_tied_ones_count_once(named: bool) -> None:
    free, frozen = Parameter(torch.zeros(3)), Parameter(torch.zeros(3), requires_grad=False)
    alias = Parameter(free.data)
    params: list[Any] = [free, frozen, free, alias]
    optimizer = QIASO(
        [(f"p{number}", p) for number, p in enumerate(params)] if named else params, 0
    )
    assert [len(optimizer.weights(candidate)) for candidate in optimizer.ask()] == [1] * 30
    alone = Parameter(torch.zeros(3))
    expected = QIASO([alone], 0)
    for _ in range(3):
        optimizer.step(lambda: (free - 1).square().sum())
        expected.step(lambda: (alone - 1).square().sum())
    assert torch.equal(free, alone)
    assert frozen.abs().max() == 0


def test_freezing_in_the_middle_of_a_generation_is_refused() -> None:
    params = parameters()
    optimizer = QIASO(params, 0, QIASOOptions(collapse_when="epoch"))
    optimizer.step(squares(params))
    params[0].requires_grad_(False)
    with pytest.raises(InvalidArgument, match="right after a collapse"):
        optimizer.step(squares(params))
    params[0].requires_grad_(True)
    optimizer.epoch_end()
    params[0].requires_grad_(False)
    optimizer.step(squares(params))


@pytest.mark.parametrize("dtype", DTYPES)
def test_candidates_have_the_dtype_of_their_parameter_and_the_right_spread(
    dtype: torch.dtype,
) -> None:
    weight = Parameter(torch.ones(20_000, dtype=dtype))
    optimizer = QIASO([weight], 0)
    (drawn,) = optimizer.weights(optimizer.ask()[3])
    assert drawn.dtype == dtype
    sigma = 0.05 / (2 * 20_000) ** 0.5
    rounding = torch.finfo(dtype).eps ** 2 / 0.05
    assert abs((drawn.double() - 1).std() - 0.05) < 5 * sigma + rounding
    optimizer.step(lambda: weight.float().square().mean())
    assert weight.dtype == dtype
    assert weight.detach().isfinite().all()


def test_the_best_seen_is_the_lowest_loss_ever_told() -> None:
    params = parameters(torch.float64)
    optimizer = QIASO(params, 0, QIASOOptions(keep_best=True, sigma=0.3))
    best = optimizer.best
    assert (best.seen, best.loss, best.step) == (None, float("inf"), 0)
    lowest, where = float("inf"), params
    for _ in range(5):
        points = [optimizer.weights(candidate) for candidate in optimizer.ask()]
        losses = [squares([Parameter(w) for w in point])().item() for point in points]
        if min(losses) < lowest:
            lowest, where = min(losses), [Parameter(w) for w in points[losses.index(min(losses))]]
        optimizer.tell(losses)
        assert optimizer.best.loss == lowest
        assert_same(optimizer.best.seen or [], [w.detach() for w in where])
        assert_same(optimizer.best.deploy, [p.detach() for p in params])


def test_between_collapses_the_best_to_deploy_is_where_a_collapse_would_go() -> None:
    params = parameters()
    optimizer = QIASO(params, 0, QIASOOptions(collapse_when="epoch"))
    before = [param.detach().clone() for param in params]
    train(optimizer, params, 0, 3)
    assert_same(list(params), before)
    deploy = optimizer.best.deploy
    optimizer.collapse()
    assert_same([param.detach() for param in params], deploy)
    optimizer.collapse()  # Nothing has been evaluated since.
    assert_same([param.detach() for param in params], deploy)


def test_a_gradient_optimizer_refines_the_centre() -> None:
    weight, alone = (Parameter(torch.tensor([3.0, -2.0])) for _ in range(2))
    refine = torch.optim.SGD([weight], lr=0.1)
    hybrid, plain = QIASO([weight], 0), QIASO([alone], 0)
    hybrid.step(lambda: weight.square().sum(), refine=refine)
    plain.step(lambda: alone.square().sum())
    assert torch.allclose(weight, alone * 0.8)  # w - 0.1 * 2 w
    for _ in range(30):
        hybrid.step(lambda: weight.square().sum(), refine)
    assert weight.detach().norm() < 0.1


def test_the_record_says_what_happened() -> None:
    weight = Parameter(torch.zeros(4, dtype=torch.float64))
    options = QIASOOptions(10, collapse_when="epoch", tunnel_probability=1.0, epsilon=0.5)
    optimizer = QIASO([weight], 0, options, diagnose=True, barrier=0.5)
    losses = torch.arange(10, dtype=torch.float64)
    losses[3] = torch.nan
    optimizer.tell(losses)
    record = optimizer.diagnosis
    assert record is not None
    assert (record.step, record.epoch, record.collapsed) == (1, 0, False)
    assert (record.best_loss, record.mean_loss) == (0.0, 42 / 9)
    assert (record.n_tunnelled, record.jump_size) == (9, 0.5)  # All but the best jumped.
    assert record.escape_probability == pytest.approx(0.158655, abs=1e-6)
    finite = losses[losses.isfinite()]
    p = (-(finite - finite.mean()) / finite.std(correction=0)).softmax(0)
    assert record.effective_sample_size == pytest.approx((1 / p.square().sum()).item(), rel=1e-12)
    assert record.entropy == pytest.approx(-(p * p.log()).sum().item(), rel=1e-12)
    silent = QIASO([weight], 0)
    silent.step(weight.sum)
    assert silent.diagnosis is None


def test_losses_that_are_all_nan_are_an_error_and_nothing_changes() -> None:
    params = parameters()
    optimizer = QIASO(params, 0)
    before = [param.detach().clone() for param in params]
    state = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(InvalidArgument, match="no candidate is left with a finite loss"):
        optimizer.step(lambda: squares(params)() * torch.nan)
    assert_same([param.detach() for param in params], before)
    assert optimizer.state_dict() == state


def test_a_closure_that_fails_leaves_the_centre() -> None:
    params = parameters()
    optimizer = QIASO(params, 0)
    before = [param.detach().clone() for param in params]
    with pytest.raises(ZeroDivisionError):
        optimizer.step(lambda: 1 / 0)
    assert_same([param.detach() for param in params], before)


@pytest.mark.parametrize("returned", [None, torch.ones(2), torch.tensor(1j), "1"])
def test_a_closure_that_returns_no_loss_is_refused(returned: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"^closure(=| returned a tensor of )"):
        QIASO([Parameter(torch.ones(2))], 0).step(lambda: returned)


def test_step_needs_a_closure() -> None:
    with pytest.raises(InvalidArgument, match=r"^closure=None"):
        QIASO([Parameter(torch.ones(2))], 0).step()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_parameter_that_is_not_finite_is_named(bad: float) -> None:
    model = nn.Linear(2, 2)
    model.bias.data[1] = bad
    with pytest.raises(
        InvalidArgument, match=r"params='bias'.*not finite|params='bias'.*NaN or infinite"
    ):
        QIASO(model.named_parameters(), 0)
    with pytest.raises(InvalidArgument, match="parameter 1"):
        QIASO(model.parameters(), 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_candidates", 0),
        ("n_candidates", True),
        ("unit", "layer"),
        ("eta", 0.0),
        ("eta", float("inf")),
        ("temperature_decay", 0.0),
        ("sigma", -1.0),
        ("sigma_start", float("nan")),
        ("epsilon", "a"),
        ("tunnel_probability", 1.5),
        ("tunnel_decay", 1.1),
        ("tunnel_best", 1),
        ("collapse_when", "never"),
        ("jump_size", "T"),
    ],
)
def test_a_bad_option_is_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"^{field}="):
        QIASOOptions(**{field: value})


def test_bad_arguments_are_named() -> None:
    weight = Parameter(torch.ones(2))
    with pytest.raises(InvalidArgument, match=r"^seed="):
        QIASO([weight], -1)
    with pytest.raises(InvalidArgument, match=r"^options="):
        QIASO([weight], 0, options={})  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"^barrier="):
        QIASO([weight], 0, barrier=-1.0)
    with pytest.raises(InvalidArgument, match=r"^sigma="):
        QIASO([{"params": [weight], "sigma": -1.0}], 0)
    with pytest.raises(InvalidArgument, match="complex"):
        QIASO([Parameter(torch.ones(2, dtype=torch.complex64))], 0)
    with pytest.raises(InvalidArgument, match="requires a gradient"):
        QIASO([Parameter(torch.ones(2), requires_grad=False)], 0).ask()
    with pytest.raises(InvalidArgument, match="30 candidates"):
        QIASO([weight], 0).tell([1.0] * 29)
    with pytest.raises(TypeError, match="ordered collections"):
        QIASO([{"params": {weight}}], 0)


def test_a_checkpoint_of_something_else_is_refused() -> None:
    params = parameters(shapes=((2, 3), (1,)))
    optimizer = QIASO(params, 0)
    with pytest.raises(CheckpointMismatch, match="QIASO"):
        optimizer.load_state_dict(torch.optim.Adam(params).state_dict())
    with pytest.raises(CheckpointMismatch, match=r"parameter 0 .*\(3, 2\).*\(2, 3\)"):
        optimizer.load_state_dict(QIASO(parameters(shapes=((3, 2), (1,))), 0).state_dict())
    with pytest.raises(CheckpointMismatch, match="1 trainable parameters, here 2"):
        optimizer.load_state_dict(QIASO(parameters(shapes=((2, 3),)), 0).state_dict())
