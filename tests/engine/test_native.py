"""The compiled kernels against the torch engine, on every instruction set that is built."""

import dataclasses
import importlib
from collections.abc import Iterator
from typing import Any

import pennylane as qml
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hybridq.backends import resolve
from hybridq.backends.statevector import Statevector
from hybridq.circuits import AbstractReadout, Circuit, ExpvalZ, Probabilities, RyRzCnot
from hybridq.engine import compiled, evaluate
from hybridq.errors import BackendUnavailable, InvalidArgument, NotDifferentiable
from hybridq.native import Kernels, built, kernels, load
from hybridq.native.circuits import call_backward, call_forward
from tests.circuits._ansaetze import Queues
from tests.engine._drawn import READOUTS, Drawn, drawn_circuits, points
from tests.engine._drawn import outputs_and_gradients as found
from tests.engine.test_evaluate import points as points_of

engine = importlib.import_module("hybridq.engine.choice")
needs_kernels = pytest.mark.skipif(kernels() is None, reason="no native kernels here")
FEW = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
KINDS, BATCHES = st.sampled_from(sorted(READOUTS)), st.sampled_from([1, 3, 16, 17, 33])


@pytest.fixture(params=built())
def instruction_set(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kernels:
    """One of those that are built, forced."""
    try:
        forced = load(request.param)
    except BackendUnavailable as error:
        pytest.skip(str(error))
    monkeypatch.setattr(engine, "kernels", lambda: forced)
    return forced


@pytest.fixture(params=[False, True], ids=["many at a time", "one by one"])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both kernels, whatever the size; the second needs a square of registers."""
    monkeypatch.setattr(
        compiled, "one_by_one", lambda n_qubits: n_qubits > 8 or (request.param and n_qubits > 7)
    )
    compiled.circuit_kernel.cache_clear()  # which keeps the choice
    yield
    compiled.circuit_kernel.cache_clear()


def by(name: str) -> Any:
    return lambda circuit, x, w: evaluate(circuit, x, w, name)


def assert_agree(circuit: Circuit, x: Tensor, w: Tensor) -> None:
    """In float64 to 1e-11; in float32 to 2e-6 of the largest number."""
    for dtype, limit in ((torch.float64, 1e-11), (torch.float32, 2e-6)):
        arguments = [t.detach().to(dtype).requires_grad_() for t in (x, w)]
        for ours, theirs in zip(
            found(circuit, by("native"), *arguments),
            found(circuit, by("torch"), *arguments),
            strict=True,
        ):
            torch.testing.assert_close(
                ours, theirs, atol=limit * max(1.0, float(theirs.abs().max())), rtol=0
            )


@pytest.mark.usefixtures("instruction_set", "layout")
@pytest.mark.parametrize("kind", READOUTS)
@pytest.mark.parametrize("own_weights", [False, True])
def test_eight_qubits_in_both_layouts(
    kind: str, own_weights: bool, request: pytest.FixtureRequest
) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=8, n_layers=2), READOUTS[kind])
    assert compiled.one_by_one(8) == ("one by one" in request.node.callspec.id)
    assert_agree(circuit, *points_of(circuit, 5, own_weights))


@needs_kernels
def test_a_failure_is_named() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
    kernel = compiled.circuit_kernel(kernels(), torch.float32, circuit, False)
    x, w = torch.zeros(3, 1), torch.zeros(circuit.weight_shape)
    with pytest.raises(MemoryError, match="states of the circuits"):
        call_forward(kernel._replace(function=lambda _: 1), x, w)
    zeros = torch._efficientzerotensor((3, 2))
    with pytest.raises(InvalidArgument, match="has no memory"):
        call_backward(kernel, x, w, zeros)


@needs_kernels
def test_tensors_that_were_converted_since_are_refused() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
    x, w = torch.zeros(3, 1), torch.zeros(circuit.weight_shape).requires_grad_()
    outputs = evaluate(circuit, x, w, "native")
    w.data = w.data.double()
    with pytest.raises(
        InvalidArgument, match="converted or resized between the forward and the backward pass"
    ):
        outputs.sum().backward()


@pytest.mark.usefixtures("instruction_set", "layout")
@settings(FEW, max_examples=40)
@given(drawn_circuits(max_wires=9, max_gates=20), KINDS, st.booleans(), BATCHES)
def test_random_circuits_agree(ansatz: Drawn, kind: str, own_weights: bool, batch: int) -> None:
    assert_agree(Circuit(ansatz, READOUTS[kind]), *points(batch, own_weights))


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("own_weights", [False, True])
@pytest.mark.parametrize("n_qubits", [*range(1, 11), 13])
def test_all_sizes_agree(n_qubits: int, own_weights: bool) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=n_qubits, n_layers=3, pattern="ring"))
    assert_agree(circuit, *points_of(circuit, 5, own_weights))


@needs_kernels
@pytest.mark.parametrize("n_qubits", [16, pytest.param(20, marks=pytest.mark.slow)])
def test_a_large_circuit_agrees(n_qubits: int) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=n_qubits, n_layers=2))
    x, w = (t.detach().float().requires_grad_() for t in points_of(circuit, 2))
    for ours, theirs in zip(
        found(circuit, by("native"), x, w), found(circuit, by("torch"), x, w), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@needs_kernels
@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("weights", ["shared", "sets", "own"])
def test_threads_do_not_show(weights: str) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=4, n_layers=2))
    x, w = points_of(circuit, 3000, weights != "shared")
    w = w[:60].detach().requires_grad_() if weights == "sets" else w
    before, results = torch.get_num_threads(), []
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        try:
            results.append(found(circuit, by("native"), x, w))
        finally:
            torch.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["torch", pytest.param("native", marks=needs_kernels)])
@pytest.mark.parametrize("n_sets", [1, 2, 4, 12])
def test_a_set_of_weights_serves_points_in_a_row(n_sets: int, name: str) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=2))
    x, own = points_of(circuit, 12, own_weights=True)
    sets = own[:n_sets].detach().requires_grad_()
    ours = found(circuit, by(name), x, sets)
    outputs, to_x, to_w = found(
        circuit, by(name), x, sets.repeat_interleave(12 // n_sets, 0).detach().requires_grad_()
    )
    torch.testing.assert_close(
        ours, (outputs, to_x, to_w.unflatten(0, (n_sets, -1)).sum(1)), atol=1e-12, rtol=0
    )
    assert not found(circuit, by(name), x[:0].detach().requires_grad_(), sets)[2].any()
    with pytest.raises(InvalidArgument, match=r"weights=.*divide the batch of 11 points"):
        evaluate(circuit, x[:11], own[:2], name)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"weights=.*divide the batch of 12 points"):
        evaluate(circuit, x, own[:0], name)  # type: ignore[arg-type]


@needs_kernels
def test_a_readout_of_ones_own() -> None:
    class Slope(AbstractReadout):
        """A weighted sum of probabilities."""

        def n_outputs(self, n_qubits: int) -> int:
            return 1

        def measure(self, n_qubits: int) -> Any:
            raise NotImplementedError

        def collect(self, result: Any) -> Tensor:
            raise NotImplementedError

        def select(self, amplitudes: Tensor, dim: int) -> Tensor:
            weights = torch.linspace(-1, 2, amplitudes.shape[dim], dtype=amplitudes.dtype)
            return (amplitudes.movedim(dim, -1) @ weights)[..., None].movedim(-1, dim)

    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=2), Slope())
    assert_agree(circuit, *points_of(circuit, 5))


@needs_kernels
def test_nothing_is_saved_but_inputs_and_weights() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=6, n_layers=5))
    kept: dict[int, int] = {}
    x, w = points_of(circuit, 50)

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        evaluate(circuit, x, w, "native")
    assert sum(kept.values()) == (x.numel() + w.numel()) * 8


def test_the_engine_is_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
    x, w = points_of(circuit, 2)
    with pytest.raises(InvalidArgument, match=r"engine='fast'.*'auto', 'native', 'torch'"):
        evaluate(circuit, x, w, "fast")  # type: ignore[arg-type]
    with pytest.raises(
        BackendUnavailable, match=r"engine='native'.*CPUs, not on meta.*engine='torch'"
    ):
        evaluate(circuit, x.to("meta"), w.to("meta"), "native")
    monkeypatch.setattr(engine, "kernels", lambda: None)
    with pytest.raises(BackendUnavailable, match="engine='native': the compiled kernels: "):
        Statevector(engine="native")
    assert Statevector().provenance()["engine"] == "torch"
    assert Statevector(engine="torch").provenance()["instruction_set"] is None


@needs_kernels
def test_the_backend_says_what_ran(instruction_set: Kernels) -> None:
    record = Statevector().provenance()
    assert (record["engine"], record["instruction_set"]) == ("native", instruction_set.name)
    assert dataclasses.replace(Statevector(), engine="torch").provenance()["engine"] == "torch"
    assert resolve("statevector:engine=native") == Statevector(engine="native")


@pytest.mark.parametrize("name", ["torch", pytest.param("native", marks=needs_kernels)])
@pytest.mark.parametrize("readout", [ExpvalZ(), Probabilities()], ids=repr)
def test_torch_compile_does_not_break_its_graph(readout: AbstractReadout, name: str) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=2), readout)
    x, w = points_of(circuit, 5)

    def loss(x: Tensor, w: Tensor) -> Tensor:
        return evaluate(circuit, x.sin(), 2 * w, name).pow(2).sum()  # type: ignore[arg-type]

    torch.compiler.reset()
    try:
        explained = torch._dynamo.explain(loss)(x, w)  # type: ignore[no-untyped-call]
        assert (explained.graph_count, explained.graph_break_count) == (1, 0)
        compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
        ours, theirs = (torch.autograd.grad(f(x, w), (x, w)) for f in (compiled, loss))
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    finally:
        torch.compiler.reset()


@pytest.mark.parametrize("name", ["torch", pytest.param("native", marks=needs_kernels)])
def test_the_operator_keeps_torchs_rules(name: str) -> None:
    operator = importlib.import_module("hybridq.engine.operator")
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=2))
    x, w = points_of(circuit, 3)
    arguments = (
        x,
        w.detach().flatten().requires_grad_(),
        operator._number(circuit),
        circuit.n_outputs,
        name,
    )
    torch.library.opcheck(operator._evaluate, arguments)
    (slope,) = torch.autograd.grad(operator._evaluate(*arguments).sum(), x, create_graph=True)
    with pytest.raises(NotDifferentiable, match="second derivatives"):
        slope.sum().backward()


@needs_kernels
def test_half_precision_runs_in_torch_and_is_no_work_for_the_kernels() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
    x, w = (t.detach().half() for t in points_of(circuit, 3))
    assert torch.equal(evaluate(circuit, x, w), evaluate(circuit, x, w, "torch"))
    with pytest.raises(
        InvalidArgument, match=r"inputs\.dtype=.*float32 and float64; use engine='auto'"
    ):
        evaluate(circuit, x, w, "native")


@needs_kernels
@pytest.mark.parametrize("turned", ["inputs", "weights"])
def test_no_second_derivative_through_a_copy(turned: str) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=2))
    x, w = (t.detach() for t in points_of(circuit, 6))
    source = (
        x.expand(6, 2).t().contiguous().t()
        if turned == "inputs"
        else w.permute(2, 1, 0).contiguous()
    )
    source.requires_grad_()
    arguments = (source[:, :1], w) if turned == "inputs" else (x, source.permute(2, 1, 0))
    (first,) = torch.autograd.grad(
        evaluate(circuit, *arguments, "native").sum(), source, create_graph=True
    )
    with pytest.raises(NotDifferentiable, match="second derivatives"):
        torch.autograd.grad(first.sum() + source.sum(), source)


@needs_kernels
def test_a_gradient_with_its_sign_as_a_bit() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=2))
    x, w = points_of(circuit, 6)

    def gradient(name: str) -> Tensor:
        out = evaluate(circuit, x, w, name)  # type: ignore[arg-type]
        z = torch.complex(torch.zeros_like(out), out).conj()
        return torch.autograd.grad((z * torch.arange(1, 4) * (1 + 2j)).sum().abs() ** 2, x)[0]

    torch.testing.assert_close(gradient("native"), gradient("torch"))
    negative = torch._neg_view(x.detach())
    torch.testing.assert_close(
        evaluate(circuit, negative, w, "native"), evaluate(circuit, -x.detach(), w, "native")
    )


@pytest.mark.parametrize("name", ["torch", pytest.param("native", marks=needs_kernels)])
def test_sets_of_no_weights(name: str) -> None:
    circuit = Circuit(Queues(lambda inputs, weights: qml.RY(inputs[..., 0], wires=0), weights=(0,)))
    x = torch.randn(4, 1, dtype=torch.float64, requires_grad=True)
    w = torch.empty(2, 0, dtype=torch.float64, requires_grad=True)
    outputs, to_x, to_w = found(circuit, by(name), x, w)
    torch.testing.assert_close(outputs, x.detach().cos())
    assert to_w.shape == (2, 0)
    assert to_x.any()
