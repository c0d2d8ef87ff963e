"""How often circuits run, and where: together, cached, on another backend."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hybridq.circuits import Circuit, RyRzCnot
from hybridq.errors import InvalidArgument, UnknownName
from hybridq.layers import (
    QuantumAttention,
    QuantumOptions,
    evaluate_together,
    evaluation,
    to_backend,
)
from hybridq.layers.given import given_to
from tests.layers._layers import SMALL, Counting, assert_same, make, results, tokens

OTHER = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
X = tokens(2, 3, 8)


class Stack(nn.Module):
    """Layers one after the other."""

    def __init__(self, *layers: QuantumAttention, skip: int | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.skip = skip

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        for i, layer in enumerate(self.layers):
            if i != self.skip:
                x = x + layer(x, x, x, need_weights=False)[0]
        return x, None


def stack(backend: Counting, *circuits: Circuit) -> Stack:
    options = [QuantumOptions(circuit, angle_std=1.0) for circuit in circuits]
    return Stack(*(make(options=o, backend=backend, seed=i) for i, o in enumerate(options)))


@pytest.mark.parametrize(
    ("options", "circuits"),
    [
        (QuantumOptions(), 2 * 17),
        (QuantumOptions(sharing="module"), 17),
        (QuantumOptions(SMALL), 2 * 9),
        (QuantumOptions.literal(encoding="every_layer"), 17),
    ],
)
def test_the_number_of_circuits_is_as_stated(options: QuantumOptions, circuits: int) -> None:
    backend = Counting()
    layer = make(options=options, backend=backend)
    assert layer.n_circuits == circuits
    for length in (3, 9):
        before = backend.n_circuits_run
        x = tokens(4, length, 8)
        results(layer, x, x, x, need_weights=False)
        assert backend.n_circuits_run - before == circuits, "whatever the batch and the length"


# Together -----------------------------------------------------------------------------------------


def test_together_is_one_evaluation_with_the_same_result() -> None:
    backend = Counting()
    model = stack(backend, SMALL, SMALL, SMALL)
    separate = results(model, X)
    assert backend.calls == 3
    evaluate_together(model)
    backend.calls = backend.n_circuits_run = 0
    together = results(model, X)
    assert backend.calls == 1
    assert backend.n_circuits_run == sum(layer.n_circuits for layer in model.layers)
    assert together.keys() == separate.keys()
    assert_same(together, separate, 1e-12)


def test_different_circuits_and_backends_are_evaluated_apart() -> None:
    first = Counting()
    second = Counting(option=1)
    model = stack(first, SMALL, OTHER, SMALL, OTHER, SMALL)
    model.layers[4].to_backend(second)
    separate = results(model, X)
    evaluate_together(model)
    first.calls = second.calls = 0
    assert_same(results(model, X), separate, 1e-12)
    assert (first.calls, second.calls) == (2, 1)


def test_backends_with_equal_options_are_one() -> None:
    model = stack(Counting(), SMALL, SMALL)
    model.layers[1].to_backend(Counting())
    separate = results(model, X)
    evaluate_together(model)
    before = sum(layer.backend.calls for layer in model.layers)
    assert_same(results(model, X), separate, 1e-12)
    assert sum(layer.backend.calls for layer in model.layers) == before + 1


def test_together_can_be_undone() -> None:
    backend = Counting()
    model = stack(backend, SMALL, SMALL)
    evaluate_together(model).remove()
    results(model, X)
    assert backend.calls == 2


def test_a_layer_that_was_skipped_does_not_keep_old_coefficients() -> None:
    model = stack(Counting(), SMALL, SMALL)
    evaluate_together(model)
    model.skip = 1
    model(X)
    layer = model.layers[1]
    with torch.no_grad():
        layer.circuit_weights.angles.add_(1.0)
    expected = results(copy.deepcopy(layer), X, X, X, need_weights=False)
    assert_same(results(layer, X, X, X, need_weights=False), expected, 1e-12)


def test_a_layer_used_twice_runs_its_circuits_once() -> None:
    backend = Counting()
    layer = make(backend=backend)
    shared = Stack(layer, layer)
    separate = Stack(layer, copy.deepcopy(layer))
    expected = separate(X)[0]
    evaluate_together(shared)
    backend.calls = 0
    torch.testing.assert_close(shared(X)[0], expected, atol=1e-12, rtol=0)
    assert backend.calls == 1


class Twice(nn.Module):
    """A stack used twice, and a layer."""

    def __init__(self, inner: Stack, last: QuantumAttention) -> None:
        super().__init__()
        self.inner = inner
        self.last = last

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        x = self.inner(self.inner(x)[0])[0]
        return self.last(x, x, x, need_weights=False)[0], None


def test_together_twice_and_nested_runs_nothing_twice() -> None:
    backend = Counting()
    outer = Twice(stack(backend, SMALL, SMALL), make(backend=backend))
    expected = results(outer, X)
    for model in (outer, outer, outer.inner):
        evaluate_together(model)
    backend.calls = 0
    assert_same(results(outer, X), expected, 1e-12)
    assert backend.calls == 1
    results(outer.inner, X)
    assert backend.calls == 2
    assert all(given_to(layer.score) is None for layer in (*outer.inner.layers, outer.last))


def test_a_forward_pass_that_raises_leaves_nothing_behind() -> None:
    model = stack(Counting(), SMALL, SMALL)
    evaluate_together(model)
    with pytest.raises(InvalidArgument, match="query"):
        model(X[..., :3])
    assert all(given_to(layer.score) is None for layer in model.layers)
    assert_same(results(copy.deepcopy(model), X), results(model, X), 0.0)


def test_a_model_evaluated_together_can_be_pickled() -> None:
    model = stack(Counting(), SMALL, SMALL)
    evaluate_together(model)
    expected = results(model, X)
    twin = pickle.loads(pickle.dumps(model))  # noqa: S301
    before = sum(layer.backend.calls for layer in twin.layers)
    assert_same(results(twin, X), expected, 1e-12)
    assert twin.layers[0].backend is twin.layers[1].backend
    # One evaluation, counted for both layers.
    assert sum(layer.backend.calls for layer in twin.layers) == before + 2


def test_layers_by_the_score_do_not_take_part() -> None:
    backend = Counting()
    model = stack(backend, SMALL)
    slow = make(options=QuantumOptions(SMALL, method="per_score"), backend=backend)
    model.layers.append(slow)
    separate = results(model, X)
    evaluate_together(model)
    assert_same(results(model, X), separate, 1e-12)


def test_a_copy_of_the_model_evaluates_its_own_layers() -> None:
    model = stack(Counting(), SMALL, SMALL)
    evaluate_together(model)
    model(X)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.layers[0].circuit_weights.angles.add_(1.0)
    before = model(X)[0]
    twin(X)
    torch.testing.assert_close(model(X)[0], before, atol=0, rtol=0)
    calls = twin.layers[0].backend.calls
    assert (twin(X)[0] - before).abs().max() > 1e-3
    assert twin.layers[0].backend.calls == calls + 1


@pytest.mark.parametrize(
    "function", [evaluate_together, lambda model: to_backend(model, "statevector")]
)
def test_a_model_without_such_layers_is_refused(function: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"model='Linear'.*QuantumAttention"):
        function(nn.Linear(1, 1))


# The cache ----------------------------------------------------------------------------------------


def evaluated(layer: QuantumAttention) -> int:
    """The number of evaluations of one forward pass without gradients."""
    assert isinstance(layer.backend, Counting)
    before = layer.backend.calls
    with torch.no_grad():
        layer(X, X, X, need_weights=False)
    return layer.backend.calls - before


def test_a_data_set_is_evaluated_with_one_evaluation() -> None:
    layer = make(backend=Counting()).eval()
    expected = results(layer, X, X, X, need_weights=False)["output"]
    assert [evaluated(layer) for _ in range(4)] == [1, 0, 0, 0]
    with torch.no_grad():
        torch.testing.assert_close(layer(X, X, X)[0], expected, atol=1e-12, rtol=0)


def test_training_and_gradients_never_use_the_cache() -> None:
    layer = make(backend=Counting()).eval()
    evaluated(layer)
    assert evaluated(layer.train()) == 1
    assert evaluated(layer) == 1
    layer.eval()
    before = layer.backend.calls  # type: ignore[attr-defined]
    gradients = results(layer, X, X, X)
    assert gradients["circuit_weights.angles"].any()
    assert layer.backend.calls == before + 1  # type: ignore[attr-defined]


def _optimizer_step(layer: QuantumAttention) -> None:
    with torch.no_grad():
        layer.circuit_weights.angles[0, 0] += 0.1


def _data(layer: QuantumAttention) -> None:
    layer.circuit_weights.angles.data[0, 0] += 0.1  # which torch's version counter does not see


def _frozen(layer: QuantumAttention) -> None:
    layer.circuit_weights.frozen[0, 0] += 0.1


def _checkpoint(layer: QuantumAttention) -> None:
    angles = layer.circuit_weights.angles.detach() + 0.1
    layer.load_state_dict({**layer.state_dict(), "circuit_weights.angles": angles})


def _backend(layer: QuantumAttention) -> None:
    layer.to_backend(Counting())


def _dtype(layer: QuantumAttention) -> None:
    layer.circuit_weights.to(torch.float32)


@pytest.mark.parametrize("change", [_optimizer_step, _data, _frozen, _checkpoint, _backend, _dtype])
def test_what_changes_the_samples_makes_the_cache_stale(change: Any) -> None:
    layer = make(backend=Counting()).eval()
    evaluated(layer)
    change(layer)
    assert [evaluated(layer) for _ in range(2)] == [1, 0]
    with torch.no_grad():
        cached = layer(X, X, X)[0]
        del evaluation._kept[layer.score]
        torch.testing.assert_close(layer(X, X, X)[0], cached, atol=0, rtol=0)


def test_gate_and_readout_are_applied_to_what_is_cached() -> None:
    layer = make(backend=Counting()).eval()
    evaluated(layer)
    with torch.no_grad():
        layer.gate.mul_(2)
        layer.circuit_weights.readout.add_(0.3)
        output = layer(X, X, X, need_weights=False)[0]
        assert evaluated(layer) == 0
    torch.testing.assert_close(output, results(layer, X, X, X)["output"], atol=1e-12, rtol=0)


def test_together_and_cached() -> None:
    backend = Counting()
    model = stack(backend, SMALL, SMALL, SMALL).eval()
    evaluate_together(model)
    with torch.no_grad():
        first = model(X)[0]
        assert backend.calls == 1
        torch.testing.assert_close(model(X)[0], first, atol=0, rtol=0)
        assert backend.calls == 1
        model.layers[1].circuit_weights.angles.add_(0.1)
        model(X)
    assert backend.calls == 2
    # The one layer that changed is run again.
    assert backend.n_circuits_run == 4 * model.layers[0].n_circuits


def test_a_cache_made_in_inference_mode_serves_afterwards() -> None:
    layer = make(backend=Counting()).eval()
    with torch.inference_mode():
        expected = layer(X, X, X, need_weights=False)[0].clone()
    assert evaluated(layer) == 0
    output = results(layer.train(), X, X, X)["output"]
    torch.testing.assert_close(output, expected, atol=1e-12, rtol=0)


# Other backends -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["default.qubit", "lightning.qubit", "aer"])
def test_the_same_weights_give_the_same_result_elsewhere(name: str) -> None:
    if name == "aer":
        pytest.importorskip("qiskit_aer")
    layer = make()
    expected = results(layer, X, X, X, need_weights=False)
    parameters = {key: value.clone() for key, value in layer.state_dict().items()}
    assert layer.to_backend(name) is layer
    assert layer.backend.name == name
    assert_same(results(layer, X, X, X, need_weights=False), expected)
    assert all(torch.equal(parameters[key], value) for key, value in layer.state_dict().items())


def test_a_checkpoint_moves_between_backends() -> None:
    trained = make(seed=1)
    file = io.BytesIO()
    torch.save(trained.state_dict(), file)
    file.seek(0)
    loaded = make(seed=2, backend="default.qubit")
    loaded.load_state_dict(torch.load(file, weights_only=True))
    assert_same(results(loaded, X, X, X), results(trained, X, X, X))


def test_a_whole_model_moves_at_once() -> None:
    model = stack(Counting(), SMALL, SMALL)
    expected = results(model, X)
    assert to_backend(model, "default.qubit") is model
    assert model.layers[0].backend is model.layers[1].backend
    assert_same(results(model, X), expected)
    with pytest.raises(UnknownName, match=r"default\.qubit"):
        to_backend(model, "default.qubits")
