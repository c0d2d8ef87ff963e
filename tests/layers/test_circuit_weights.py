"""Which angles are frozen (SPEC A11), judged by PennyLane's gradients; all others learn."""

import math
from typing import Any

import pytest
import torch

from hybridq.circuits import (
    AbstractReadout,
    Circuit,
    ExpvalZ,
    FirstProbabilities,
    Probabilities,
    RealAmplitudes,
    RyRzCnot,
)
from hybridq.engine.readout_map import make_readout_map
from hybridq.engine.torch_program import prepare_program
from hybridq.layers import QuantumAttention, QuantumOptions
from hybridq.layers.circuit_weights import CircuitWeights, live_weights
from tests.layers._layers import assert_same, make, results, tokens

READOUTS = [ExpvalZ(), Probabilities(), FirstProbabilities(), RealAmplitudes()]
ANSAETZE = [
    RyRzCnot(n_qubits=1, n_layers=1),
    RyRzCnot(n_qubits=3, n_layers=1, pattern="ring"),
    RyRzCnot(n_qubits=4, n_layers=2),
    RyRzCnot(n_qubits=4, n_layers=2, pattern="brick"),
    RyRzCnot(n_qubits=3, n_layers=3, encoding="first_layer"),
    RyRzCnot(n_qubits=2, n_layers=2, encoding="none"),
]


def sizes_of_gradients(circuit: Circuit) -> torch.Tensor:
    """The largest gradient of any output in each angle, at generic points, by PennyLane."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(5, 1, dtype=torch.float64, generator=rng)
    w = torch.randn(circuit.weight_shape, dtype=torch.float64, generator=rng)
    node = circuit.qnode("default.qubit")
    jacobian = torch.autograd.functional.jacobian(
        lambda weights: circuit.readout.collect(node(x, weights)), w
    )
    return jacobian.abs().flatten(0, -1 - w.ndim).amax(0).flatten()


@pytest.mark.parametrize("ansatz", ANSAETZE, ids=repr)
@pytest.mark.parametrize("readout", READOUTS, ids=repr)
def test_exactly_the_dead_angles_are_frozen(ansatz: RyRzCnot, readout: AbstractReadout) -> None:
    circuit = Circuit(ansatz, readout)
    sizes = sizes_of_gradients(circuit)
    live = live_weights(circuit)
    dead = sorted(set(range(len(sizes))) - set(live))
    assert sizes[dead].sum() < 1e-12
    assert sizes[live].min() > 1e-6
    if readout.diagonal:
        n = ansatz.n_qubits
        last_rz = [2 * ((ansatz.n_layers - 1) * n + wire) + 1 for wire in range(n)]
        assert dead == last_rz
    else:
        assert dead == []


def test_the_whole_circuit_is_there() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=2))
    module = CircuitWeights(circuit, 2, 0.1)
    with torch.no_grad():
        module.angles.copy_(torch.arange(18.0).view(2, 9))
        module.frozen.copy_(-torch.arange(1.0, 7.0).view(2, 3))
    weights = module.weights()
    assert weights.shape == (2, 2, 3, 2)
    assert weights[0, 1, :, 1].tolist() == [-1.0, -2.0, -3.0]
    assert weights[0].flatten()[:7].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert weights[1, 1, :, 0].tolist() == [15.0, 16.0, 17.0]


def test_the_start() -> None:
    torch.manual_seed(0)
    circuit = Circuit(RyRzCnot(n_qubits=4, n_layers=2), FirstProbabilities())
    drawn = CircuitWeights(circuit, 1000, 0.1).weights()
    n = drawn.numel()
    assert abs(drawn.mean().item()) < 5 * 0.1 / math.sqrt(n)
    assert abs(drawn.std().item() - 0.1) < 5 * 0.1 / math.sqrt(2 * n)
    sums_probabilities = CircuitWeights(circuit, 1, 0.1).readout
    assert sums_probabilities.tolist() == [[1.0] * 4]
    averages_z = CircuitWeights(Circuit(RyRzCnot()), 1, 0.1).readout
    assert averages_z.tolist() == [[0.25] * 4]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_angles_are_float32_at_least(dtype: torch.dtype) -> None:
    weights = CircuitWeights(Circuit(RyRzCnot()), 1, 0.1).to(dtype).weights()
    assert weights.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


OPTIONS: dict[str, dict[str, Any]] = {
    "recommended": {},
    "module": {"sharing": "module"},
    "learned frequency": {"learn_frequency": True},
    "raw": {"argument": "raw"},
    "tanh": {"argument": "tanh"},
    "amplitudes": {"circuit": Circuit(RyRzCnot(), RealAmplitudes())},
    "per score": {"method": "per_score", "circuit": Circuit(RyRzCnot(n_qubits=2, n_layers=1))},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("need_weights", [False, True])
def test_every_parameter_learns(options: dict[str, Any], need_weights: bool) -> None:
    layer = make(options=QuantumOptions(**{"angle_std": 1.0, **options}))
    x = tokens(2, 4, 8)
    gradients = results(layer, x, x, x, need_weights=need_weights)
    names = {name.replace("score.", ""): p for name, p in layer.named_parameters()}
    assert {"gate", "circuit_weights.angles", "circuit_weights.readout"} <= names.keys()
    for name, parameter in names.items():
        assert parameter.requires_grad
        gradient = gradients[name]
        if name == "in_proj_bias":
            # Softmax cancels the part of the key's bias that is common to all keys.
            gradient = gradient[torch.tensor([*range(8), *range(16, 24)])]
        assert (gradient.abs() > 1e-12).all(), f"{name}: {gradient}"


def test_what_is_not_trainable_is_no_business_of_the_optimizer() -> None:
    layer = QuantumAttention(8, 2, options=QuantumOptions.literal(encoding="every_layer"))
    trained = {name for name, p in layer.score.named_parameters() if p.requires_grad}
    assert "circuit_weights.angles" in trained
    assert not {"gate", "circuit_weights.readout"} & trained
    assert "circuit_weights.frozen" in layer.state_dict()


def test_a_layer_made_on_the_meta_device_is_filled_by_a_checkpoint() -> None:
    options = QuantumOptions(Circuit(RyRzCnot(n_qubits=3, n_layers=1, pattern="ring")))
    prepare_program.cache_clear()
    make_readout_map.cache_clear()
    with torch.device("meta"):
        empty = QuantumAttention(8, 2, options=options, batch_first=True)
    assert {p.device.type for p in empty.parameters()} == {"meta"}
    trained = QuantumAttention(8, 2, options=options, batch_first=True)
    x = torch.randn(1, 3, 8)
    filled = empty.to_empty(device="cpu")
    filled.load_state_dict(trained.state_dict())
    assert_same(results(filled, x, x, x), results(trained, x, x, x), 0.0)
