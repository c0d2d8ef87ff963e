"""Steps that a compiler, a graph or autograd follows are the steps that are done without them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from hybridq.errors import InvalidArgument
from hybridq.optim import (
    Cosine,
    GaussianNoise,
    Sign,
    SuperpositionalAdam,
    SuperpositionalOptions,
    UniformNoise,
)
from tests.optim._runs import advance, assert_same, gradients, parameters

# Torch's compiler uses what torch itself has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

OPTIONS = {
    "recommended": SuperpositionalOptions(),
    "literal": SuperpositionalOptions.literal(),
    "all": SuperpositionalOptions(entries="all", denominator="eps_inside", decay="l2"),
    "moments": SuperpositionalOptions(acts_on="moments", n_qubits=6),
    "ascent": SuperpositionalOptions(
        scale="raw", raw_gradient="m_hat", bracket="ascent", perturbation=Cosine()
    ),
    "uncorrected": SuperpositionalOptions(bias_correction=False, perturbation=Sign()),
}
every_option = pytest.mark.parametrize("name", OPTIONS)
both_paths = pytest.mark.parametrize("foreach", [True, False])


def steps(
    name: str, foreach: bool, wrap: Callable[[Any], Any] | None = None, **switches: Any
) -> list[Tensor]:
    """Run six steps; one parameter has no gradient in the last three, so its step count lags."""
    params = parameters(torch.float64, shapes=((), (3,), (5, 2)))
    optimizer = SuperpositionalAdam(
        params, lr=0.02, weight_decay=0.1, options=OPTIONS[name], foreach=foreach, **switches
    )
    step = optimizer.step if wrap is None else wrap(optimizer.step)
    for number in range(6):
        for param, grad in zip(params, gradients(number, params), strict=True):
            param.grad = grad
        if number > 2:
            params[1].grad = None
        step()
    return [param.detach() for param in params]


def assert_close(left: list[Tensor], right: list[Tensor]) -> None:
    for a, b in zip(left, right, strict=True):
        # Powers of beta are computed in another way, in float64: a dozen roundings a step, seen
        # through an ascent.
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@pytest.fixture(autouse=True)
def _no_compiled_code_is_left() -> Iterator[None]:
    yield
    torch.compiler.reset()


@both_paths
@every_option
def test_a_capturable_step_is_the_step(name: str, foreach: bool) -> None:
    assert_close(steps(name, foreach, capturable=True), steps(name, foreach))


@both_paths
def test_a_capturable_step_follows_its_tensor_of_a_learning_rate(foreach: bool) -> None:
    runs = []
    for captured in (True, False):
        params = parameters(torch.float64)
        lr = torch.tensor([0.25], dtype=torch.float64)
        optimizer = SuperpositionalAdam(
            params, lr=lr, weight_decay=0.1, foreach=foreach, capturable=captured
        )
        advance(optimizer, params, 0, 3)
        lr.fill_(0.5)
        advance(optimizer, params, 3, 6)
        runs.append([param.detach() for param in params])
    assert_close(*runs)


def compiled(backend: str) -> Callable[[Any], Any]:
    return lambda step: torch.compile(step, backend=backend)


@pytest.mark.parametrize("name", ["recommended", "literal", "moments"])
def test_a_compiled_step_is_the_step(name: str) -> None:
    torch._dynamo.utils.counters.clear()
    weights = steps(name, False, compiled("aot_eager"))
    # With and without the gradient of one parameter: not one graph for each step.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    assert_close(weights, steps(name, False))


@pytest.mark.slow
def test_a_step_compiled_to_machine_code_is_the_step() -> None:
    assert_close(steps("recommended", True, compiled("inductor")), steps("recommended", True))


def test_a_compiled_function_may_call_step() -> None:
    runs = []
    for compiles in (True, False):
        params = parameters(torch.float64)
        optimizer = SuperpositionalAdam(params, lr=torch.tensor(0.02, dtype=torch.float64))

        def update(scale: float, optimizer: SuperpositionalAdam = optimizer) -> float:
            optimizer.step()
            return scale * 2

        call: Any = torch.compile(update, backend="aot_eager") if compiles else update
        for number in range(3):
            for param, grad in zip(params, gradients(number, params), strict=True):
                param.grad = grad
            assert call(1.5) == 3.0
        runs.append([param.detach() for param in params])
    assert_close(*runs)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.bfloat16, torch.float32])
def test_a_compiled_step_of_other_dtypes(dtype: torch.dtype) -> None:
    runs = []
    for wrap in (compiled("aot_eager"), lambda step: step):
        source = torch.Generator().manual_seed(0)
        params = [
            Parameter(torch.randn(shape, generator=source, dtype=dtype)) for shape in ((3, 2), (5,))
        ]
        optimizer = SuperpositionalAdam(params, lr=0.1)
        step = wrap(optimizer.step)
        for _ in range(3):
            for param in params:
                param.grad = torch.randn(param.shape, generator=source, dtype=dtype)
            step()
        runs.append([param.detach() for param in params])
    for a, b in zip(*runs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    "arguments",
    [
        {"options": SuperpositionalOptions(perturbation=GaussianNoise(seed=1))},
        {"strength": lambda step: 1 / step},
        {"check_finite": True},
        {"diagnose": True},
    ],
    ids=["noise", "function", "check_finite", "diagnose"],
)
def test_what_no_graph_can_hold_runs_uncompiled(arguments: dict[str, Any]) -> None:
    runs = []
    for wrap in (compiled("aot_eager"), lambda step: step):
        params = parameters()
        optimizer = SuperpositionalAdam(params, lr=0.1, **arguments)
        step = wrap(optimizer.step)
        for number in range(3):
            for param, grad in zip(params, gradients(number, params), strict=True):
                param.grad = grad
            step()
        runs.append([param.detach() for param in params])
    assert_same(*runs)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"strength": lambda step: 0.5}, r"strength=.*a graph cannot call"),
        (
            {"options": SuperpositionalOptions(perturbation=UniformNoise())},
            r"perturbation=UniformNoise.*a graph cannot record",
        ),
        ({"check_finite": True}, r"check_finite=True: a graph cannot stop"),
    ],
)
def test_what_a_graph_cannot_hold_is_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        SuperpositionalAdam(parameters(), capturable=True, **arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@both_paths
@every_option
def test_a_cuda_graph_replays_the_step(name: str, foreach: bool) -> None:
    runs = []
    for replays in (True, False):
        params = [Parameter(param.detach().cuda()) for param in parameters(torch.float64)]
        for param in params:
            param.grad = torch.zeros_like(param)
        optimizer = SuperpositionalAdam(
            params, lr=0.02, options=OPTIONS[name], foreach=foreach, capturable=replays
        )
        graph = torch.cuda.CUDAGraph()
        for number in range(6):
            for param, grad in zip(params, gradients(number, params), strict=True):
                param.grad.copy_(grad)  # type: ignore[union-attr]
            if replays and number == 3:
                with torch.cuda.graph(graph):
                    optimizer.step()
            if replays and number >= 3:
                graph.replay()
            else:
                optimizer.step()
        runs.append([param.detach() for param in params])
    assert_close(*runs)


def unrolled(rate: Tensor | float, start: Tensor, name: str, **switches: Any) -> Tensor:
    """Return the weights after three steps on a quartic loss, from a rate and first weights."""
    weight = start.clone()
    # A strength at which the ascent does not run away, where finite differences would say nothing.
    chosen: dict[str, Any] = {
        "options": OPTIONS[name],
        "weight_decay": 0.1,
        "strength": 0.05,
        "differentiable": True,
    } | switches
    optimizer = SuperpositionalAdam([weight], lr=rate, **chosen)
    for _ in range(3):
        loss = ((weight - 0.3).abs() ** 4).sum() + (weight - 0.1).abs().square().sum()
        (weight.grad,) = torch.autograd.grad(loss, weight, create_graph=True)
        optimizer.step()
    return torch.view_as_real(weight) if weight.is_complex() else weight


@every_option
def test_autograd_goes_through_the_step(name: str) -> None:
    start = torch.randn(
        3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True
    )
    rate = torch.tensor(0.05, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda lr, weight: unrolled(lr, weight, name), (rate, start))
    assert torch.autograd.gradcheck(
        lambda weight: unrolled(0.05, weight, name, maximize=True), (start,)
    )


def test_autograd_goes_through_the_step_of_complex_parameters() -> None:
    start = torch.randn(
        3, generator=torch.Generator().manual_seed(0), dtype=torch.complex128, requires_grad=True
    )
    rate = torch.tensor(0.05, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda lr, weight: unrolled(lr, weight, "recommended"), (rate, start)
    )


@every_option
def test_a_differentiable_step_is_the_step(name: str) -> None:
    start = torch.randn(
        3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True
    )
    followed = unrolled(0.05, start, name)
    assert followed.requires_grad
    weight = Parameter(start.detach().clone())
    optimizer = SuperpositionalAdam(
        [weight], lr=0.05, strength=0.05, weight_decay=0.1, options=OPTIONS[name]
    )
    for _ in range(3):
        optimizer.zero_grad()
        loss = ((weight - 0.3).abs() ** 4).sum() + (weight - 0.1).abs().square().sum()
        torch.autograd.backward(loss)
        optimizer.step()
    assert_close([followed.detach()], [weight.detach()])


def test_what_autograd_cannot_follow_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"foreach=True: .*differentiated"):
        SuperpositionalAdam(parameters(), differentiable=True, foreach=True)
    with pytest.raises(InvalidArgument, match=r"differentiable=True: .*constructor"):
        SuperpositionalAdam([{"params": parameters(), "differentiable": True}])
