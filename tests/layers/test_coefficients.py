"""Fourier coefficients by one node of the graph, against the same by `evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pennylane as qml
import pytest
import torch
from torch import Tensor, nn

from hybridq.backends.statevector import Statevector
from hybridq.circuits import (
    AbstractAnsatz,
    Circuit,
    ExpvalZ,
    FirstProbabilities,
    Probabilities,
    RealAmplitudes,
    RyRzCnot,
)
from hybridq.engine import coefficients as fused
from hybridq.errors import BackendUnavailable, InvalidArgument, NotDifferentiable
from hybridq.layers import QuantumAttention, QuantumOptions, evaluate_circuits
from hybridq.native import kernels
from tests.layers._layers import SMALL, Counting, assert_same, make, negative_view, results, tokens

pytestmark = pytest.mark.skipif(kernels() is None, reason="no compiled kernels")

READOUTS = [ExpvalZ(), Probabilities(), FirstProbabilities(3), RealAmplitudes(2)]
NODE = "_CoefficientsBackward"


def twins(**arguments: Any) -> tuple[QuantumAttention, QuantumAttention]:
    """A layer, and the same on a backend that has `evaluate` alone."""
    ours = make(**arguments)
    theirs = make(backend=Counting(), **arguments)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def trained(*layers: QuantumAttention, mix: float = 1.0) -> dict[str, Tensor]:
    """The coefficients of all layers and the gradients of a mixture of them."""
    output = torch.stack(coefficients(layers))
    parameters = {}
    for i, layer in enumerate(layers):
        for name, parameter in of_circuits(layer).items():
            parameters[f"{i} {name}"] = parameter
    factors = torch.linspace(-1, mix, output.numel(), dtype=output.dtype).view_as(output)
    gradients = torch.autograd.grad((output * factors).sum(), [*parameters.values()])
    return {"output": output.detach(), **dict(zip(parameters, gradients, strict=True))}


def coefficients(layers: Sequence[QuantumAttention]) -> list[Tensor]:
    """The coefficients of each layer, from one joint evaluation, one row for each head."""
    results = evaluate_circuits([layer.score for layer in layers])
    pairs = zip(results, layers, strict=True)
    return [result.expand(layer.num_heads, -1) for (result,), layer in pairs]


def of_circuits(layer: QuantumAttention) -> dict[str, Tensor]:
    return dict(zip(("angles", "readout", "gate"), layer.circuit_parameters, strict=True))


def node(layer: QuantumAttention) -> str:
    (result,) = evaluate_circuits([layer.score])[0]
    return type(result.grad_fn).__name__


@pytest.mark.parametrize("sharing", ["module", "per_head"])
@pytest.mark.parametrize("readout", READOUTS, ids=lambda readout: type(readout).__name__)
@pytest.mark.parametrize("n_layers", [1, 3])
def test_the_same_as_by_nodes(n_layers: int, readout: Any, sharing: Any) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=n_layers), readout)
    ours, theirs = twins(options=QuantumOptions(circuit, sharing=sharing, angle_std=1.0))
    assert node(ours) == NODE
    assert node(theirs) != NODE
    tensors = trained(ours)
    assert_same(tensors, trained(theirs), 1e-12)
    assert all(tensor.any() for tensor in tensors.values())


@pytest.mark.parametrize("sharing", ["module", "per_head"])
def test_circuits_that_run_one_by_one(sharing: Any) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=9, n_layers=1))
    options = QuantumOptions(circuit, sharing=sharing, angle_std=1.0)
    ours, theirs = twins(options=options)
    assert node(ours) == NODE
    assert_same(trained(ours), trained(theirs), 1e-12)


def put(layer: QuantumAttention, name: str, values: Tensor) -> None:
    owner = layer if name == "gate" else layer.circuit_weights
    setattr(owner, name, nn.Parameter(values.detach()))


def test_parameters_in_a_strange_layout() -> None:
    ours, theirs = twins()
    expected = trained(theirs)
    for name, values in of_circuits(ours).items():
        put(ours, name, values.repeat_interleave(2, -1)[..., ::2])
    assert not any(values.is_contiguous() for values in of_circuits(ours).values())
    assert node(ours) == NODE
    assert_same(trained(ours), expected, 1e-12)


@pytest.mark.parametrize("name", ["angles", "readout", "gate"])
def test_negative_views(name: str) -> None:
    ours, theirs = twins()
    put(ours, name, negative_view(of_circuits(ours)[name]))
    assert_same(trained(ours), trained(theirs), 1e-12)


@pytest.mark.parametrize("sharing", ["module", "per_head"])
def test_gradients_in_a_strange_layout(sharing: Any) -> None:
    layer = make(options=QuantumOptions(SMALL, sharing=sharing, angle_std=1.0))
    dense = torch.randn(2, 9, dtype=torch.float64)
    expected = torch.autograd.grad(layer.coefficients(), layer.circuit_parameters, dense)
    for gradient in (dense.T.contiguous().T, dense.repeat(1, 2)[:, :9], negative_view(dense)):
        ours = torch.autograd.grad(layer.coefficients(), layer.circuit_parameters, gradient)
        torch.testing.assert_close(ours, expected, atol=1e-14, rtol=0)


@dataclass(frozen=True)
class Idle(AbstractAnsatz):
    """Weights that change nothing."""

    n_qubits: int = 2

    @property
    def n_inputs(self) -> int:
        return 1

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (2,)

    def apply(self, inputs: Any, weights: Any) -> None:
        for wire in range(2):
            qml.RY(inputs[..., 0], wire)
            qml.RZ(weights[..., wire], wire)


@pytest.mark.parametrize("sharing", ["module", "per_head"])
def test_circuits_without_live_angles(sharing: Any) -> None:
    ours, theirs = twins(options=QuantumOptions(Circuit(Idle()), sharing=sharing))
    assert node(ours) == NODE
    assert ours.circuit_weights.angles.numel() == 0
    assert_same(trained(ours), trained(theirs), 1e-12)


class Tagged(Tensor):
    """A tensor of another class, which may have its own arithmetic."""


class OwnReadout(ExpvalZ):
    """Outputs that the kernels do not select."""


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("readout", torch.ones(1, 2)),
        ("readout", torch.ones(3, 3)),
        ("gate", torch.ones(1)),
        ("gate", torch.ones(2, device="meta")),
    ],
)
def test_parameters_of_another_shape_or_device_are_refused(name: str, values: Tensor) -> None:
    layer = make()
    put(layer, name, values.double())
    with pytest.raises(InvalidArgument, match=rf"{name}=.*(shape must be|move one)"):
        layer.coefficients()


def test_angles_of_another_shape_are_refused() -> None:
    layer = make()
    put(layer, "angles", torch.ones(2, 1).double())
    with pytest.raises((RuntimeError, IndexError)):
        layer.coefficients()


def test_a_layer_that_was_converted_since_is_refused() -> None:
    layer = make()
    result = layer.coefficients()
    layer.float()
    message = "converted or resized between the forward and the backward pass"
    with pytest.raises(InvalidArgument, match=message):
        result.sum().backward()


def test_sums_of_many_outputs_are_in_double() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=12, n_layers=1), Probabilities())
    layer = make(options=QuantumOptions(circuit, sharing="module"))
    expected = trained(layer)
    ours = trained(layer.float())
    assert_same({name: x.double() for name, x in ours.items()}, expected, 2e-6)


def test_what_is_left_to_other_ways() -> None:
    mixed = make()
    mixed.gate = nn.Parameter(mixed.gate.detach().float())
    assert node(mixed) == NODE
    torch.testing.assert_close(mixed.coefficients(), make().coefficients(), atol=1e-6, rtol=0)
    tagged = make()
    tagged.gate = nn.Parameter(tagged.gate.detach().as_subclass(Tagged))
    assert node(tagged) != NODE
    of_another_readout = make(options=QuantumOptions(Circuit(SMALL.ansatz, OwnReadout())))
    assert node(of_another_readout) != NODE
    too_large = make(options=QuantumOptions(Circuit(RyRzCnot(n_qubits=21, n_layers=1))))
    with pytest.raises(BackendUnavailable, match="at most 20"):
        too_large.coefficients()


def test_the_default_device_is_not_asked() -> None:
    layer = make()
    expected = layer.coefficients()
    fused._samples.cache_clear()
    with torch.device("meta"):
        torch.testing.assert_close(layer.coefficients(), expected, atol=0, rtol=0)


def test_float32() -> None:
    ours, theirs = twins(options=QuantumOptions(angle_std=1.0))
    tensors = trained(ours.float())
    assert {x.dtype for x in tensors.values()} == {torch.float32}
    assert_same({name: x.double() for name, x in tensors.items()}, trained(theirs), 1e-5)


def test_several_layers_are_one_node_whoever_shares_angles() -> None:
    shared = QuantumOptions(SMALL, sharing="module", angle_std=1.0)
    per_head = QuantumOptions(SMALL, sharing="per_head", angle_std=1.0)
    kinds = (shared, per_head, shared)
    pairs = [twins(options=options, seed=i) for i, options in enumerate(kinds)]
    ours = [pair[0] for pair in pairs]
    theirs = [pair[1] for pair in pairs]
    results = evaluate_circuits([layer.score for layer in ours])
    nodes = {result.grad_fn.next_functions[0][0] for (result,) in results}  # behind the split
    assert [type(n).__name__ for n in nodes] == [NODE]
    assert_same(trained(*ours), trained(*theirs), 1e-12)


def test_a_layer_whose_coefficients_are_not_used_gets_zeros() -> None:
    ours, theirs = twins(seed=0)
    unused, _ = twins(seed=1)
    for layers in ((ours, unused), (theirs,)):
        coefficients(layers)[0][:, 2:].pow(2).sum().backward()
    assert not any(p.grad.any() for p in of_circuits(unused).values())
    for name, parameter in of_circuits(ours).items():
        expected = of_circuits(theirs)[name].grad
        torch.testing.assert_close(parameter.grad, expected, atol=1e-12, rtol=0)


def test_the_whole_layer() -> None:
    x = tokens(2, 5, 8)
    ours, theirs = twins()
    assert_same(results(ours, x, x, x), results(theirs, x, x, x), 1e-12)


def test_a_graph_that_is_kept_can_be_walked_again() -> None:
    layer = make()
    loss = layer.coefficients()[:, 3].sum()
    once = torch.autograd.grad(loss, layer.gate, retain_graph=True)
    again = torch.autograd.grad(loss, layer.gate)
    torch.testing.assert_close(once, again, atol=0, rtol=0)


def test_no_second_derivative() -> None:
    layer = make()
    loss = layer.coefficients().pow(2).sum()
    (slope,) = torch.autograd.grad(loss, layer.circuit_weights.angles, create_graph=True)
    with pytest.raises(NotDifferentiable, match=r"second derivatives.*default\.qubit"):
        torch.autograd.grad(slope.sum(), layer.gate)


def test_what_changed_before_the_backward_pass_is_noticed() -> None:
    layer = make()
    result = layer.coefficients()
    with torch.no_grad():
        layer.gate.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.sum().backward()


def test_the_backward_pass_takes_what_was_saved() -> None:
    gradients = []
    for layer in twins():
        with torch.autograd.graph.allow_mutation_on_saved_tensors():
            result = layer.coefficients()
            parameters = [*of_circuits(layer).values()]
            with torch.no_grad():
                for parameter in parameters:
                    parameter.add_(0.5)
            gradients.append(torch.autograd.grad(result[:, 1:].pow(2).sum(), parameters))
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=0)


def test_coefficients_of_several_layers_can_be_changed_in_place() -> None:
    layers = [make(seed=i) for i in range(2)]
    first, second = coefficients(layers)
    expected = second.detach().clone()
    first.mul_(2).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(second.detach(), expected, atol=0, rtol=0)


def test_a_subclass_runs_circuits_in_its_own_way() -> None:
    class Doubled(Statevector):
        def _evaluate(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
            return 2 * super()._evaluate(circuit, inputs, weights)

    torch.testing.assert_close(
        make(backend=Doubled()).coefficients(), 2 * make().coefficients(), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("sharing", ["module", "per_head"])
def test_angles_that_are_not_finite_are_refused(sharing: Any, number: float) -> None:
    layer = make(options=QuantumOptions(SMALL, sharing=sharing))
    layer.circuit_weights.angles.data[-1, -1] = number
    with pytest.raises(InvalidArgument, match="weights holds NaN or infinity: "):
        layer.coefficients()


def test_a_buffer_of_another_dtype_does_not_matter() -> None:
    layer = make()
    expected = layer.coefficients()
    layer.circuit_weights.frozen = layer.circuit_weights.frozen.bfloat16()
    assert node(layer) == NODE
    torch.testing.assert_close(layer.coefficients(), expected, atol=0, rtol=0)


def test_circuits_are_counted() -> None:
    layers = [make(options=QuantumOptions(SMALL, sharing="module"), seed=i) for i in range(2)]
    layers[1].to_backend(layers[0].backend)
    coefficients(layers)
    assert layers[0].backend.n_circuits_run == 2 * 9


@pytest.mark.parametrize("fixed", ["circuit_weights.readout", "gate", "circuit_weights.angles"])
def test_what_is_fixed_gets_no_gradient(fixed: str) -> None:
    ours, theirs = twins()
    for layer in (ours, theirs):
        layer.score.get_parameter(fixed).requires_grad_(False)
        layer.coefficients()[:, 1:4].pow(3).sum().backward()
    assert node(ours) == NODE
    for name, parameter in of_circuits(ours).items():
        other = of_circuits(theirs)[name]
        if fixed.endswith(name):
            assert parameter.grad is other.grad is None
        else:
            torch.testing.assert_close(parameter.grad, other.grad, atol=1e-12, rtol=0)


def test_parameters_put_in_from_outside() -> None:
    layer = make()
    x = tokens(2, 5, 8)
    other = make(seed=5)
    others = {name: p.detach().clone().requires_grad_() for name, p in other.named_parameters()}
    output = torch.func.functional_call(layer, others, (x, x, x), {"need_weights": False})[0]
    torch.testing.assert_close(output, other(x, x, x)[0], atol=1e-12, rtol=0)
    (gradient,) = torch.autograd.grad(output.sum(), others["score.circuit_weights.angles"])
    assert gradient.any()


def test_autocast_changes_nothing() -> None:
    layer = make().float()
    expected = layer.coefficients()
    fused._samples.cache_clear()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer.coefficients(), expected, atol=0, rtol=0)
    torch.testing.assert_close(layer.coefficients(), expected, atol=0, rtol=0)
