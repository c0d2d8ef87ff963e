"""The Fourier form agrees with one circuit for every score, gradients included.

The last tests show where quantum attention is plain attention.
"""

import itertools
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
from hybridq.engine import coefficients as fused
from hybridq.errors import QuantumNoOpWarning
from hybridq.layers import Attention, FourierForm, QuantumAttention, QuantumOptions
from tests.layers._layers import SMALL, assert_same, make, results, tokens

ANSAETZE = {
    "every_layer": RyRzCnot(n_qubits=3, n_layers=2),
    "first_layer": RyRzCnot(n_qubits=3, n_layers=2, encoding="first_layer", pattern="ring"),
    "integer frequencies": RyRzCnot(n_qubits=3, n_layers=1, frequencies=(1, 3, -2)),
}
READOUTS = {r: r for r in (ExpvalZ(), FirstProbabilities(), RealAmplitudes())}
X = tokens(2, 3, 8)


def both(
    circuit: Circuit, call: dict[str, Any], **options: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Results by the Fourier form and by one circuit for every score, with the same parameters."""
    fast = make(options=QuantumOptions(circuit, angle_std=1.0, **options))
    slow = make(options=QuantumOptions(circuit, angle_std=1.0, method="per_score", **options))
    slow.load_state_dict(fast.state_dict())
    return results(fast, X, X, X, **call), results(slow, X, X, X, **call)


@pytest.mark.parametrize("encoding", ANSAETZE)
@pytest.mark.parametrize("readout", READOUTS.values(), ids=repr)
@pytest.mark.parametrize("argument", ["scaled", "raw", "tanh"])
@pytest.mark.parametrize("sharing", ["per_head", "module"])
def test_the_fourier_form_is_exact(
    encoding: str, readout: AbstractReadout, argument: str, sharing: str
) -> None:
    circuit = Circuit(ANSAETZE[encoding], readout)
    for learn_frequency, need_weights in itertools.product((False, True), repeat=2):
        ours, theirs = both(
            circuit,
            {"need_weights": need_weights},
            argument=argument,
            sharing=sharing,
            learn_frequency=learn_frequency,
        )
        trained = {
            "gate",
            "circuit_weights.angles",
            "circuit_weights.readout",
            "in_proj_weight",
            "out_proj.bias",
        }
        if learn_frequency:
            trained.add("frequency")
        assert trained <= set(ours)
        assert ours["circuit_weights.angles"].any()
        assert ours.keys() == {name for name in theirs if need_weights or name != "weights"}
        assert_same(ours, theirs)


def test_the_same_by_pennylane() -> None:
    fast = make()
    slow = make(options=QuantumOptions(SMALL, method="per_score"), backend="default.qubit")
    slow.load_state_dict(fast.state_dict())
    assert_same(results(fast, X, X, X), results(slow, X, X, X))


@pytest.mark.parametrize("readout", [ExpvalZ(), RealAmplitudes()], ids=repr)
def test_fewer_samples_are_not_exact(
    monkeypatch: pytest.MonkeyPatch, readout: AbstractReadout
) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=2), readout)
    form = FourierForm.of(circuit)
    monkeypatch.setattr(FourierForm, "of", lambda _: FourierForm(form.degree - 1, form.frequency))
    monkeypatch.setattr(fused, "_samples", fused._samples.__wrapped__)  # which keeps forms
    ours, theirs = both(circuit, {"need_weights": False})
    assert (ours["output"] - theirs["output"]).abs().max() > 1e-4


def test_non_integer_frequencies_run_one_circuit_for_every_score() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1, frequencies=(1, 0.5)))
    layer = make(options=QuantumOptions(circuit, method="per_score"), backend="statevector")
    ours = results(layer, X, X, X)
    assert layer.backend.n_circuits_run == 2 * 2 * 3 * 3
    assert_same(ours, results(layer.to_backend("default.qubit"), X, X, X))


def plain(layer: QuantumAttention) -> Attention:
    """Plain attention with the same projections."""
    other = Attention(layer.embed_dim, layer.num_heads, batch_first=layer.batch_first).double()
    other.load_state_dict({name: layer.state_dict()[name] for name in other.state_dict()})
    return other


@pytest.mark.parametrize("need_weights", [False, True])
def test_literal_is_plain_attention_and_says_so(need_weights: bool) -> None:
    with pytest.warns(QuantumNoOpWarning, match="plain attention.*every_layer"):
        layer = QuantumAttention(8, 2, batch_first=True, options=QuantumOptions.literal()).double()
    call = {"need_weights": need_weights}
    assert_same(results(layer, X, X, X, **call), results(plain(layer), X, X, X, **call), 1e-12)


def test_literal_with_the_score_in_it_is_not() -> None:
    layer = make(options=QuantumOptions.literal(encoding="every_layer"))
    difference = results(layer, X, X, X)["output"] - results(plain(layer), X, X, X)["output"]
    assert difference.abs().max() > 1e-3


@pytest.mark.parametrize(
    "ansatz",
    [RyRzCnot(encoding="none"), RyRzCnot(n_qubits=2, frequencies=(0, 0))],
    ids=["none", "zero frequencies"],
)
@pytest.mark.parametrize("method", ["fourier", "per_score"])
def test_softmax_invariance_is_found_by_trying(ansatz: RyRzCnot, method: Any) -> None:
    with pytest.warns(QuantumNoOpWarning):
        QuantumAttention(8, 2, options=QuantumOptions(Circuit(ansatz), method=method))


@pytest.mark.parametrize("readout", [*READOUTS.values(), Probabilities()], ids=repr)
@pytest.mark.parametrize("encoding", ANSAETZE)
def test_what_varies_does_not_warn(encoding: str, readout: AbstractReadout) -> None:
    QuantumAttention(8, 2, options=QuantumOptions(Circuit(ANSAETZE[encoding], readout)))


@pytest.mark.parametrize("need_weights", [False, True])
def test_gate_0_is_plain_attention(need_weights: bool) -> None:
    layer = make(options=QuantumOptions(gate=0.0))
    with torch.no_grad():
        layer.gate.zero_()
    call = {"need_weights": need_weights}
    assert_same(results(layer, X, X, X, **call), results(plain(layer), X, X, X, **call), 1e-12)


def test_gate_starts_where_the_options_say() -> None:
    assert QuantumAttention(8, 2, options=QuantumOptions(gate=0.0)).gate.tolist() == [0.0, 0.0]
    assert QuantumAttention(8, 2, options=QuantumOptions(sharing="module")).gate.tolist() == [1.0]


def test_phi_is_what_the_paper_adds() -> None:
    """softmax(s + g * sum_k r_k <Z_k>(s)), written out, with the circuit by PennyLane."""
    layer = make(options=QuantumOptions(SMALL, sharing="module", angle_std=1.0), num_heads=1)
    q, k, v = torch.nn.functional.linear(X, layer.in_proj_weight, layer.in_proj_bias).chunk(3, -1)
    s = q @ k.transpose(1, 2) / 8**0.5
    node = SMALL.qnode("default.qubit")
    expectations = SMALL.readout.collect(node(s.reshape(-1, 1), layer.circuit_weights.weights()[0]))
    phi = (expectations @ layer.circuit_weights.readout[0]).view_as(s)
    expected = layer.out_proj(torch.softmax(s + layer.gate * phi, -1) @ v)
    torch.testing.assert_close(layer(X, X, X, need_weights=False)[0], expected, atol=1e-10, rtol=0)
