"""What a jump does and when, against NumPy twins and the identities of SPEC section 6."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from hybridq.optim.tunneling import QuantumTunneling, TunnelingOptions
from hybridq.seeding import generator
from tests.optim._runs import STEPS, advance, assert_same, gradients, parameters
from tests.reference.tunneling import Twin, actions

BASES: dict[str, Any] = {
    "AdamW": lambda params: torch.optim.AdamW(params, lr=0.01, weight_decay=0.1),
    "Adam, foreach, amsgrad": lambda params: torch.optim.Adam(
        params, lr=0.01, foreach=True, amsgrad=True
    ),
    "SGD": lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9, nesterov=True),
    "RMSprop": lambda params: torch.optim.RMSprop(params, lr=0.01),
    "NAdam": lambda params: torch.optim.NAdam(params, lr=0.01),
}
N = 100_000


def values(params: list[Parameter]) -> list[Tensor]:
    return [param.detach().clone() for param in params]


def tunneling(
    params: list[Parameter], interval: int = 1, strength: float = 0.3, **options: Any
) -> QuantumTunneling:
    base = torch.optim.SGD(params, lr=0.1, momentum=0.9)
    return QuantumTunneling(base, interval, strength, TunnelingOptions(**options), seed=7)


@pytest.mark.parametrize("name", BASES)
def test_strength_0_without_reset_is_the_base_optimizer(name: str) -> None:
    theirs, ours = parameters(), parameters()
    base = BASES[name](theirs)
    optimizer = QuantumTunneling(BASES[name](ours), 1, 0.0, TunnelingOptions(reset="keep"))
    for step in range(STEPS):
        advance(base, theirs, step, step + 1)
        advance(optimizer, ours, step, step + 1)
        assert optimizer.epoch_end()
        assert_same(values(theirs), values(ours))


@pytest.mark.parametrize("name", BASES)
def test_reset_only_is_a_new_base_optimizer(name: str) -> None:
    theirs, ours = parameters(), parameters()
    optimizer = QuantumTunneling(BASES[name](ours), 1, 0.0)
    for step in range(0, STEPS, 5):
        advance(BASES[name](theirs), theirs, step, step + 5)
        advance(optimizer, ours, step, step + 5)
        optimizer.epoch_end()
        assert len(optimizer.state) == 0
        assert_same(values(theirs), values(ours))


@pytest.mark.parametrize("reset", ["clear", "keep", "scale"])
@pytest.mark.parametrize("tensors", ["matrices", "all"])
@pytest.mark.parametrize("size", ["relative", "absolute"])
def test_jumps_agree_with_the_twin(size: str, tensors: str, reset: str) -> None:
    params = parameters(torch.float64)
    twin = Twin(
        [p.detach().numpy().copy() for p in params],
        0.1,
        0.9,
        0.3,
        size,
        tensors,
        reset,
        reset_factor=0.25,
    )
    optimizer = tunneling(
        params, interval=2, size=size, tensors=tensors, reset=reset, reset_factor=0.25
    )

    def draw(jump: int, index: int) -> Any:
        noise = torch.empty(params[index].shape, dtype=torch.float32)
        return noise.normal_(generator=generator(7, "tunneling", jump, 0, index)).double().numpy()

    for epoch in range(1, 7):
        advance(optimizer, params, 3 * epoch, 3 * epoch + 3)
        for step in range(3 * epoch, 3 * epoch + 3):
            twin.step([gradient.numpy() for gradient in gradients(step, params)])
        optimizer.epoch_end()
        if epoch % 2 == 0:
            twin.jump(draw)
        for param, theta in zip(params, twin.params, strict=True):
            np.testing.assert_allclose(param.detach().numpy(), theta, rtol=1e-10, atol=1e-10)


def jumped(noise: str, dtype: torch.dtype = torch.float64) -> Tensor:
    """The noise that one jump has added."""
    weight = Parameter(torch.zeros(100, N // 100, dtype=dtype))
    tunneling([weight], size="absolute", noise=noise, strength=0.3).jump()
    return weight.detach() / 0.3


def test_normal_noise_has_the_stated_size() -> None:
    noise = jumped("normal")  # The bounds are 5 sigma.
    assert abs(noise.mean()) < 5 / N**0.5
    assert abs(noise.var() - 1) < 5 * (2 / N) ** 0.5
    assert abs((noise.abs() < 1).double().mean() - math.erf(0.5**0.5)) < 5 * 0.5 / N**0.5


def test_uniform_noise_has_the_stated_size() -> None:
    noise = jumped("uniform")
    assert abs(noise.mean()) < 5 / N**0.5
    assert abs(noise.var() - 1) < 5 * ((9 / 5 - 1) / N) ** 0.5
    assert noise.abs().max() <= 3**0.5 + 1e-6  # It is drawn in float32.


def test_cauchy_noise_has_the_stated_size() -> None:
    noise = jumped("cauchy")
    for bound, share in ((1.0, 1 / 2), (10.0, 2 / math.pi * math.atan(10.0))):
        sigma = (share * (1 - share) / N) ** 0.5
        assert abs((noise.abs() < bound).double().mean() - share) < 5 * sigma
    assert abs((noise > 0).double().mean() - 0.5) < 5 * 0.5 / N**0.5


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64]
)
def test_a_relative_jump_is_strength_times_the_weights(dtype: torch.dtype) -> None:
    weight = Parameter(
        (torch.randn(100, N // 100, generator=torch.Generator().manual_seed(0)) * 300).to(dtype)
    )
    before = weight.detach().clone()
    optimizer = QuantumTunneling(torch.optim.SGD([weight], lr=0.1), 1, 0.3, diagnose=True)
    optimizer.jump()
    wide = torch.complex128 if dtype.is_complex else torch.float64
    moved = ((weight.detach().to(wide) - before.to(wide)).norm() / before.to(wide).norm()).item()
    # The norm of n numbers of N(0, 1) is sqrt(n) +- 1 / sqrt(2); low dtypes round each weight by
    # eps relative to it.
    tolerance = 5 / (2 * N) ** 0.5 + (torch.finfo(dtype).eps / 0.3 if dtype.itemsize == 2 else 1e-6)
    assert abs(moved / 0.3 - 1) < tolerance
    assert optimizer.diagnosis is not None
    assert abs(optimizer.diagnosis.relative / 0.3 - 1) < 5 / (2 * N) ** 0.5
    assert optimizer.diagnosis.norm == pytest.approx(
        moved * before.to(wide).norm().item(), rel=tolerance
    )


def test_low_precision_is_added_in_float32_and_rounded_once() -> None:
    start = torch.randn(30, 30, generator=torch.Generator().manual_seed(0)).bfloat16()
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        weight = Parameter(start.clone().to(dtype))
        tunneling([weight]).jump()
        results.append(weight.detach().bfloat16())
    assert_same(results[:1], results[1:])


def test_noise_depends_on_seed_jump_group_and_place_and_on_nothing_else() -> None:
    def noise(
        seed: int = 0, jump: int = 1, group: int = 0, place: int = 0, torch_seed: int = 0
    ) -> Tensor:
        groups = [{"params": [Parameter(torch.zeros(4, 4)) for _ in range(2)]} for _ in range(2)]
        options = TunnelingOptions(size="absolute")
        optimizer = QuantumTunneling(torch.optim.SGD(groups, lr=0.1), 1, 1.0, options, seed=seed)
        torch.manual_seed(torch_seed)
        for _ in range(jump):
            for param in (p for g in groups for p in g["params"]):
                param.data.zero_()
            optimizer.jump()
        return groups[group]["params"][place].detach()

    assert torch.equal(noise(), noise(torch_seed=1))
    others = [noise(seed=1), noise(jump=2), noise(group=1), noise(place=1)]
    assert all(not torch.equal(noise(), other) for other in others)


@pytest.mark.parametrize(
    "view", [lambda w: w.data, lambda w: w.data.t(), lambda w: w.data.view(-1)]
)
def test_a_tied_weight_jumps_once(view: Any) -> None:
    weight = Parameter(torch.zeros(4, 4))
    tied = [weight, Parameter(view(weight))]
    alone = Parameter(torch.zeros(4, 4))
    for params in (tied, [alone]):
        tunneling(params, size="absolute", tensors="all").jump()
    assert torch.equal(weight, alone)


def test_neighbours_in_one_storage_are_not_tied() -> None:
    flat = torch.zeros(32)
    halves = [Parameter(flat[:16].view(4, 4)), Parameter(flat[16:].view(4, 4))]
    tunneling(halves, size="absolute").jump()
    assert bool((flat != 0).all())


def test_which_tensors_jump() -> None:
    params = [
        Parameter(torch.ones(shape)) for shape in ((), (3,), (2, 3), (1, 1), (0, 3), (2, 2, 2))
    ]
    params[-1].requires_grad_(False)
    before = values(params)
    tunneling(params).jump()
    assert [not torch.equal(a, b) for a, b in zip(before, params, strict=True)] == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]


def test_a_tensor_of_zeros_stays_where_size_is_relative() -> None:
    weight = Parameter(torch.zeros(3, 3))
    optimizer = QuantumTunneling(torch.optim.SGD([weight], lr=0.1), 1, 0.3, diagnose=True)
    optimizer.jump()
    assert weight.abs().sum() == 0
    assert optimizer.diagnosis is not None
    assert optimizer.diagnosis.relative == 0


def test_a_group_has_its_own_jump() -> None:
    params = [Parameter(torch.ones(N, 1, dtype=torch.float64)) for _ in range(4)]
    groups: list[dict[str, Any]] = [
        {"params": [params[0]]},
        {"params": [params[1]], "tunneling_strength": 0.0},
        {"params": [params[2]], "tunneling_strength": 0.7, "tunneling_noise": "uniform"},
    ]
    optimizer = QuantumTunneling(torch.optim.SGD(groups, lr=0.1), 1, 0.3)
    optimizer.add_param_group({"params": [params[3]], "tunneling_strength": 0.5})
    optimizer.jump()
    deviations = [(param.detach() - 1).std().item() for param in params]
    # The deviation of n numbers of N(0, 1) is 1 +- 1 / sqrt(2 n).
    assert deviations == [pytest.approx(s, rel=5 / (2 * N) ** 0.5) for s in (0.3, 0.0, 0.7, 0.5)]
    assert (params[2].detach() - 1).abs().max() <= 0.7 * 3**0.5 + 1e-6


def taken(options: TunnelingOptions, losses: list[float], **arguments: Any) -> list[str]:
    weight = Parameter(torch.ones(2, 2))
    base = torch.optim.SGD([weight], lr=0.1)
    optimizer = QuantumTunneling(base, strength=0.1, options=options, diagnose=True, **arguments)
    done = []
    for loss in losses:
        changed = optimizer.epoch_end(loss)
        assert optimizer.diagnosis is not None
        done.append(
            "jump"
            if optimizer.diagnosis.jumped
            else "revert"
            if optimizer.diagnosis.reverted
            else "stay"
        )
        assert changed == (done[-1] != "stay")
    return done


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("revert_after", [None, 1, 2, 3])
@pytest.mark.parametrize("trigger", ["interval", "plateau"])
def test_the_schedule_agrees_with_the_twin(
    trigger: Any, revert_after: int | None, mode: Any
) -> None:
    source = np.random.default_rng(0)
    seen = set()
    for case in range(20):
        losses = source.integers(0, 12, size=40).astype(float)
        losses[source.random(40) < 0.1] = math.nan
        interval = int(source.integers(1, 6)) if trigger == "plateau" else 4
        total = 40 if case % 2 else None
        options = TunnelingOptions(trigger=trigger, revert_after=revert_after, mode=mode)
        metrics = list(losses if mode == "min" else -losses)
        expected = actions(list(losses), interval, trigger, revert_after, total)
        assert taken(options, metrics, interval=interval, total=total) == expected
        seen.update(expected)
    assert seen == {"jump", "stay"} | ({"revert"} if revert_after is not None else set())


def test_the_paper_jumps_after_the_last_epoch_too() -> None:
    epochs = [0.0] * 10
    ours = taken(TunnelingOptions(), epochs, interval=5, total=10)
    literal = taken(TunnelingOptions.literal(), epochs, interval=5, total=10)
    unknown = taken(TunnelingOptions(), epochs, interval=5)
    assert [e for e, action in enumerate(ours, 1) if action == "jump"] == [5]
    assert [e for e, action in enumerate(literal, 1) if action == "jump"] == [5, 10]
    assert unknown == literal


@pytest.mark.parametrize(("total", "at"), [(None, [3, 6, 9]), (9, [3, 6]), (10, [3, 6, 9])])
def test_jumps_every_few_steps(total: int | None, at: list[int]) -> None:
    params = parameters()
    base = torch.optim.SGD(params, lr=0.1)
    optimizer = QuantumTunneling(
        base, 3, 0.1, TunnelingOptions(unit="step"), total=total, diagnose=True
    )
    seen = []
    for step in range(1, 11):
        advance(optimizer, params, step, step + 1)
        assert optimizer.diagnosis is not None
        assert optimizer.diagnosis.step == step
        seen += [step] if optimizer.diagnosis.jumped else []
        assert not optimizer.epoch_end()
    assert seen == at


@pytest.mark.parametrize("reset", ["clear", "keep"])
def test_a_jump_that_does_not_help_is_taken_back(reset: Any) -> None:
    params = parameters()
    optimizer = tunneling(params, interval=3, revert_after=2, reset=reset)
    advance(optimizer, params, 0, 3)
    optimizer.epoch_end(2.0)
    optimizer.epoch_end(1.5)
    before = values(params)
    assert optimizer.epoch_end(1.0)
    assert not torch.equal(before[3], params[3])
    assert not optimizer.epoch_end(3.0)
    advance(optimizer, params, 3, 5)
    assert optimizer.epoch_end(1.0)  # An equal metric is not better.
    assert_same(before, values(params))
    assert (len(optimizer.state) == 0) == (reset == "clear")


def test_a_jump_that_helps_is_kept() -> None:
    params = parameters()
    optimizer = tunneling(params, interval=3, revert_after=2)
    for metric in (2.0, 1.5, 1.0):
        optimizer.epoch_end(metric)
    after = values(params)
    assert not optimizer.epoch_end(0.5)
    assert not optimizer.epoch_end(9.0)
    assert_same(after, values(params))


def test_scaling_leaves_the_counts() -> None:
    params = parameters()
    adam = torch.optim.NAdam(params)
    optimizer = QuantumTunneling(adam, 1, 0.0, TunnelingOptions(reset="scale", reset_factor=0.5))
    advance(optimizer, params, 0, 3)
    before = {
        param: {name: value.clone() for name, value in adam.state[param].items()}
        for param in params
    }
    optimizer.epoch_end()
    for param in params:
        for name, value in adam.state[param].items():
            factor = 0.5 if value.dim() > 0 else 1.0
            assert torch.equal(value, before[param][name] * factor)
            assert factor == 0.5 or param.dim() == 0 or name in ("step", "mu_product")


def test_diagnosis_is_off_unless_asked_for() -> None:
    optimizer = tunneling(parameters())
    optimizer.jump()
    assert optimizer.diagnosis is None


def test_a_record_says_what_happened() -> None:
    params = parameters()
    base: Optimizer = torch.optim.SGD(params, lr=0.1)
    optimizer = QuantumTunneling(base, 1, 0.3, TunnelingOptions.literal(), diagnose=True)
    advance(optimizer, params, 0, 2)
    before = torch.cat([value.reshape(-1) for value in values(params)]).double()
    optimizer.epoch_end()
    after = torch.cat([value.reshape(-1) for value in values(params)]).double()
    record = optimizer.diagnosis
    assert record is not None
    assert (record.step, record.epoch, record.jumps) == (2, 1, 1)
    assert (record.jumped, record.trigger) == (True, "interval")
    assert not record.reverted
    assert record.norm == pytest.approx((after - before).norm().item(), rel=1e-6)  # float32
    assert record.relative == pytest.approx(
        ((after - before).norm() / before.norm()).item(), rel=1e-6
    )
    advance(optimizer, params, 2, 3)
    record = optimizer.diagnosis
    assert record is not None
    assert (record.step, record.jumped, record.trigger, record.norm) == (3, False, None, 0.0)
