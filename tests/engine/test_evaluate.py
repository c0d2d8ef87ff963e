"""`evaluate` as a torch function: batches, chunks, gradients, memory, dtypes."""

import threading
import weakref
from typing import Any

import pennylane as qml
import pytest
import torch
from torch import Tensor

from hybridq.backends import resolve
from hybridq.circuits import (
    AbstractReadout,
    Circuit,
    ExpvalZ,
    FirstProbabilities,
    Probabilities,
    RealAmplitudes,
    RyRzCnot,
)
from hybridq.engine import MAX_QUBITS, compiled, evaluate, packing, torch_evaluation, torch_kernel
from hybridq.engine.readout_map import make_readout_map
from hybridq.engine.torch_program import prepare_program
from hybridq.errors import InvalidArgument, NotDifferentiable
from tests.circuits._ansaetze import Queues
from tests.engine._drawn import mix
from tests.reference.random_circuits import RandomAnsatz

pytestmark = pytest.mark.usefixtures("engine_in_use")
CIRCUIT = Circuit(RandomAnsatz(seed=1, wires=3), Probabilities())


def points(
    circuit: Circuit, batch: int, own_weights: bool = False, dtype: Any = torch.float64
) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(batch)
    x = torch.randn(batch, circuit.n_inputs, generator=rng, dtype=torch.float64).to(dtype)
    shape = (batch, *circuit.weight_shape) if own_weights else circuit.weight_shape
    w = torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype)
    return x.requires_grad_(), w.requires_grad_()


def run(circuit: Circuit, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    outputs = evaluate(circuit, x, w)
    return outputs.detach(), *torch.autograd.grad((outputs * mix(outputs)).sum(), (x, w))


def assert_equal(
    ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...], limit: float = 1e-10
) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=limit, rtol=0)


@pytest.mark.usefixtures("only_torch")
@pytest.mark.parametrize("own_weights", [False, True])
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 6, 7])
def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch, batch: int, own_weights: bool) -> None:
    x, w = points(CIRCUIT, batch, own_weights)
    whole = run(CIRCUIT, x, w)
    # psi and lambda, each re and im, of 2**3 float64 amplitudes; 3 lanes of them
    monkeypatch.setattr(torch_evaluation, "_CPU_CHUNK_BYTES", 3 * 4 * 8 * 8)
    program = prepare_program(CIRCUIT, own_weights, x.dtype, x.device)
    sizes = [chunk.stop - chunk.start for chunk in torch_evaluation._chunks(program, x)]
    assert sizes == [3] * (batch // 3) + [batch % 3] * (batch % 3 > 0)
    assert_equal(run(CIRCUIT, x, w), whole, 1e-14)


@pytest.mark.usefixtures("only_torch")
def test_one_lane_may_be_larger_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = points(CIRCUIT, 3)
    whole = run(CIRCUIT, x, w)
    monkeypatch.setattr(torch_evaluation, "_CPU_CHUNK_BYTES", 1)
    assert_equal(run(CIRCUIT, x, w), whole, 1e-14)


@pytest.mark.parametrize("own_weights", [False, True])
def test_an_empty_batch_gives_an_empty_result(own_weights: bool) -> None:
    outputs, to_x, to_w = run(CIRCUIT, *points(CIRCUIT, 0, own_weights))
    assert outputs.shape == (0, 8)
    assert to_x.shape == (0, 2)
    assert not to_w.any()


def test_points_do_not_see_each_other() -> None:
    x, w = points(CIRCUIT, 5)
    together = evaluate(CIRCUIT, x, w)
    alone = torch.cat([evaluate(CIRCUIT, row[None], w) for row in x])
    torch.testing.assert_close(together, alone, atol=1e-14, rtol=0)


def test_own_weights_are_shared_weights_where_they_are_equal() -> None:
    x, w = points(CIRCUIT, 4)
    outputs, to_x, to_w = run(CIRCUIT, x, w.expand(4, *w.shape))
    assert_equal((outputs, to_x, to_w.sum(0)), run(CIRCUIT, x, w))


@pytest.mark.parametrize("own_weights", [False, True])
@pytest.mark.parametrize("readout", [ExpvalZ(), RealAmplitudes()], ids=repr)
def test_a_circuit_without_its_input(readout: AbstractReadout, own_weights: bool) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=2, encoding="none"), readout)
    x, w = points(circuit, 5, own_weights)
    outputs, to_x, to_w = run(circuit, x, w)
    expected = resolve("default.qubit").evaluate(circuit, x, w)
    torch.testing.assert_close(outputs, expected.detach(), atol=1e-10, rtol=0)
    (theirs,) = torch.autograd.grad((expected * mix(expected)).sum(), w)
    torch.testing.assert_close(to_w, theirs, atol=1e-10, rtol=0)
    assert to_x.shape == x.shape
    assert not to_x.any()


def test_a_circuit_that_takes_no_inputs_at_all() -> None:
    circuit = Circuit(Queues(lambda x, w: qml.RY(w[..., 0], 0), inputs=0))
    x, w = points(circuit, 3)
    outputs, to_x, to_w = run(circuit, x, w)
    torch.testing.assert_close(outputs, w[0].cos().expand(3, 1).detach(), atol=1e-10, rtol=0)
    assert to_x.shape == (3, 0)
    slope = -w[0].sin().detach() * mix(outputs).sum()
    torch.testing.assert_close(to_w[0], slope, atol=1e-10, rtol=0)
    assert not to_w[1:].any()


@pytest.mark.parametrize("number", [0, 1])
def test_one_argument_alone_may_want_a_gradient(number: int) -> None:
    both = points(CIRCUIT, 3)
    expected = run(CIRCUIT, *both)[1 + number]
    arguments = [t.detach() for t in both]
    arguments[number].requires_grad_()
    outputs = evaluate(CIRCUIT, *arguments)
    (outputs * mix(outputs)).sum().backward()
    torch.testing.assert_close(arguments[number].grad, expected, atol=1e-14, rtol=0)
    assert arguments[1 - number].grad is None


def test_without_gradients_nothing_is_kept() -> None:
    x, w = (t.detach() for t in points(CIRCUIT, 3))
    assert not evaluate(CIRCUIT, x, w).requires_grad
    with torch.no_grad():
        assert not evaluate(CIRCUIT, *points(CIRCUIT, 3)).requires_grad


@pytest.mark.parametrize("readout", [Probabilities(), RealAmplitudes()], ids=repr)
def test_backward_can_run_twice(readout: AbstractReadout) -> None:
    circuit = Circuit(CIRCUIT.ansatz, readout)
    x, w = points(circuit, 3)
    loss = evaluate(circuit, x, w).pow(2).sum()
    first = torch.autograd.grad(loss, (x, w), retain_graph=True)
    assert_equal(torch.autograd.grad(loss, (x, w)), first, 0.0)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


@pytest.mark.parametrize("backend", ["statevector", "aer"])
@pytest.mark.parametrize("power", [1, 2])
def test_a_second_derivative_is_refused(power: int, backend: str) -> None:
    """Also after a plain sum: there the incoming gradient is a constant, and zero would result."""
    if backend == "aer":
        pytest.importorskip("qiskit_aer")
    x, w = points(CIRCUIT, 2)
    run_there = resolve(backend).evaluate
    plain = torch.autograd.grad(run_there(CIRCUIT, x, w).pow(power).sum(), (x, w))
    once = torch.autograd.grad(run_there(CIRCUIT, x, w).pow(power).sum(), (x, w), create_graph=True)
    assert_equal(tuple(t.detach() for t in once), plain, 1e-12)
    with pytest.raises(NotDifferentiable, match=r"second derivatives.*default\.qubit"):
        once[0].pow(2).sum().backward()  # a gradient penalty
    with pytest.raises(NotDifferentiable, match="second derivatives"):
        torch.autograd.functional.hessian(lambda v: run_there(CIRCUIT, x, v).pow(power).sum(), w)


def test_the_way_out_of_a_second_derivative() -> None:
    x, w = points(CIRCUIT, 1)
    pennylane = resolve("default.qubit")
    hessian = torch.autograd.functional.hessian(
        lambda v: pennylane.evaluate(CIRCUIT, x, v)[0, 0], w
    )
    assert hessian.abs().max() > 1e-3


@pytest.mark.usefixtures("only_torch")
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_no_state_is_kept(monkeypatch: pytest.MonkeyPatch, mode: Any) -> None:
    x, w = points(CIRCUIT, 4)
    monkeypatch.setattr(torch_evaluation, "_CPU_CHUNK_BYTES", 1)  # a chunk for each lane
    alive: list[weakref.ref[Tensor]] = []
    n_alive = []
    forward = torch_kernel.forward

    def watched(*arguments: Any) -> Tensor:
        n_alive.append(sum(state() is not None for state in alive))
        state: Tensor = forward(*arguments)
        alive.append(weakref.ref(state))
        return state

    monkeypatch.setattr(torch_kernel, "forward", watched)
    with mode():
        evaluate(CIRCUIT, x, w)
    assert len(n_alive) == 4
    assert max(n_alive) <= 1, "no more than the state before"


def test_too_many_qubits_are_refused_before_anything_is_made() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=MAX_QUBITS + 1, n_layers=1))
    with pytest.raises(InvalidArgument, match=r"n_qubits=21.*at most 20.*lightning\.qubit"):
        evaluate(circuit, *points(circuit, 1))


def saved_bytes(n_layers: int, readout: AbstractReadout, batch: int = 50) -> int:
    """The bytes that autograd keeps between forward and backward, less those of the weights."""
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=n_layers), readout)
    x, w = points(circuit, batch)
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        evaluate(circuit, x, w)
    return sum(kept.values()) - kept[w.data_ptr()]


@pytest.mark.usefixtures("only_torch")
@pytest.mark.parametrize("readout", [ExpvalZ(), RealAmplitudes()], ids=repr)
def test_saved_memory_does_not_grow_with_the_number_of_gates(readout: AbstractReadout) -> None:
    # For each of 50 points the input, and re and im of the final state, in float64.
    expected = 50 * 8 * (1 + 2 * 2**3)
    assert saved_bytes(2, readout) == expected
    assert saved_bytes(40, readout) == expected


@pytest.mark.parametrize(("n_qubits", "n_layers", "batch"), [(12, 2, 3), (16, 1, 1)])
@pytest.mark.parametrize("readout", [ExpvalZ(), FirstProbabilities()], ids=repr)
def test_larger_circuits_agree_with_lightning(
    readout: AbstractReadout, n_qubits: int, n_layers: int, batch: int
) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=n_qubits, n_layers=n_layers, pattern="ring"), readout)
    x, w = points(circuit, batch)
    expected = resolve("lightning.qubit").evaluate(circuit, x, w)
    if isinstance(readout, FirstProbabilities):
        # Lightning differentiates these by parameter shift only.
        torch.testing.assert_close(evaluate(circuit, x, w), expected, atol=1e-10, rtol=0)
        return
    theirs = torch.autograd.grad((expected * mix(expected)).sum(), (x, w))
    assert_equal(run(circuit, x, w), (expected.detach(), *theirs))


def test_a_readout_too_large_for_a_matrix_has_the_same_gradients() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=9, n_layers=2), Probabilities())  # 2**18 entries
    x, w = points(circuit, 2)
    program = prepare_program(circuit, False, x.dtype, x.device)
    assert make_readout_map(circuit, program, x.dtype).matrix is None
    expected = resolve("default.qubit").evaluate(circuit, x, w)
    theirs = torch.autograd.grad((expected * mix(expected)).sum(), (x, w))
    assert_equal(run(circuit, x, w), (expected.detach(), *theirs))


@pytest.mark.usefixtures("only_torch")
def test_a_diagonal_too_large_for_a_matrix_has_the_same_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, w = points(CIRCUIT, 3)
    expected = run(CIRCUIT, x, w)
    monkeypatch.setattr("hybridq.engine.torch_program._LARGEST_SIGN_MATRIX", 0)
    prepare_program.cache_clear()
    try:
        program = prepare_program(CIRCUIT, False, x.dtype, x.device)
        assert program.first_phase is not None
        assert program.first_phase.signs is None
        assert_equal(run(CIRCUIT, x, w), expected, 1e-14)
    finally:
        prepare_program.cache_clear()


@pytest.mark.parametrize("readout", [ExpvalZ(), Probabilities(), RealAmplitudes()], ids=repr)
@pytest.mark.parametrize("n_qubits", [3, 9])
def test_a_first_use_in_inference_mode_leaves_training_possible(
    n_qubits: int, readout: AbstractReadout
) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=n_qubits, n_layers=2), readout)
    prepare_program.cache_clear()
    make_readout_map.cache_clear()
    x, w = points(circuit, 2)
    with torch.inference_mode():
        expected = evaluate(circuit, x, w).clone()
    torch.testing.assert_close(run(circuit, x, w)[0], expected, atol=0, rtol=0)


def test_autocast_does_not_reach_the_angles() -> None:
    x, w = points(CIRCUIT, 3, dtype=torch.float32)
    expected = run(CIRCUIT, x, w)
    with torch.autocast("cpu", torch.bfloat16):
        assert_equal(run(CIRCUIT, x, w), expected, 0.0)


def test_arguments_need_not_be_contiguous() -> None:
    x, w = points(CIRCUIT, 4)
    expected = run(CIRCUIT, x, w)
    x_view = x.detach().t().contiguous().t().requires_grad_()
    w_view = w.detach().t().contiguous().t().requires_grad_()
    assert not x_view.is_contiguous()
    assert not w_view.is_contiguous()
    assert_equal(run(CIRCUIT, x_view, w_view), expected, 1e-14)


def test_threads_do_not_share_state() -> None:
    arguments = [points(CIRCUIT, batch) for batch in (1, 2, 3, 4)]
    expected = [run(CIRCUIT, *pair) for pair in arguments]
    results: dict[int, tuple[Tensor, ...]] = {}

    def work(i: int) -> None:
        for _ in range(10):
            results[i] = run(CIRCUIT, *arguments[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        assert_equal(results[i], expected[i], 0.0)


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for own_weights in (False, True):
        x, w = points(CIRCUIT, 5, own_weights)
        there = [t.detach().cuda().requires_grad_() for t in (x, w)]
        assert_equal(tuple(t.cpu() for t in run(CIRCUIT, *there)), run(CIRCUIT, x, w))


def test_another_default_device_does_not_reach_what_is_prepared() -> None:
    x, w = points(CIRCUIT, 3)
    expected = run(CIRCUIT, x, w)
    prepare_program.cache_clear()
    make_readout_map.cache_clear()
    with torch.device("meta"):
        evaluate(CIRCUIT, x, w)
    assert_equal(run(CIRCUIT, x, w), expected, 0.0)


@pytest.mark.parametrize("transform", [torch.func.vmap, torch.func.grad, torch.func.jacrev])
def test_torch_func_is_refused(transform: Any) -> None:
    x, w = points(CIRCUIT, 3)
    message = r"torch\.func: vmap, grad.*give a batch of points"
    with pytest.raises(NotDifferentiable, match=message):
        transform(lambda p: evaluate(CIRCUIT, p, w))(torch.stack((x, x)))


def test_what_does_not_fit_is_named() -> None:
    x, w = (t.detach() for t in points(CIRCUIT, 3))
    for inputs, weights, name in (
        (x[:, :1], w, "inputs"),
        (x[0], w, "inputs"),
        (x, w[:-1], "weights"),
        (x, w[None, None], "weights"),
        (x, w.float(), "weights are torch.float32 on cpu: "),
        (x.to("meta"), w, "weights are torch.float64 on cpu: "),
    ):
        message = name if " " in name else f"{name}="
        with pytest.raises(InvalidArgument, match=f"^{message}"):
            evaluate(CIRCUIT, inputs, weights)


def test_the_default_device_is_not_asked() -> None:
    x, w = points(CIRCUIT, 3)
    expected = run(CIRCUIT, x, w)
    compiled.circuit_kernel.cache_clear()
    packing.pack_circuit.cache_clear()
    with torch.device("meta"):
        outputs = evaluate(CIRCUIT, x, w)
    torch.testing.assert_close(outputs.detach(), expected[0])
