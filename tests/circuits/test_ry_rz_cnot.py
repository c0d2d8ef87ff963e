"""The gates of RyRzCnot, written down here from SPEC A3 to A7."""

import dataclasses
from typing import Any

import pennylane as qml
import pytest

from hybridq.circuits import Circuit, RyRzCnot
from hybridq.errors import InvalidArgument

CNOTS = {
    ("chain", 1): [],
    ("chain", 4): [(0, 1), (1, 2), (2, 3)],
    ("ring", 1): [],
    ("ring", 2): [(0, 1)],  # a second CNOT 1 -> 0 would be another gate, not the closing of a ring
    ("ring", 4): [(0, 1), (1, 2), (2, 3), (3, 0)],
    ("brick", 2): [(0, 1)],
    ("brick", 5): [(0, 1), (2, 3), (1, 2), (3, 4)],
}


def written(ansatz: RyRzCnot) -> list[tuple[str, tuple[int, ...], str]]:
    return [
        (g.name, g.wires, "" if g.angle is None else str(g.angle))
        for g in Circuit(ansatz).trace().gates
    ]


@pytest.mark.parametrize(("pattern", "n"), CNOTS)
def test_gates_are_h_then_layers_of_ry_rz_cnot(pattern: Any, n: int) -> None:
    expected: list[tuple[str, tuple[int, ...], str]] = [("Hadamard", (i,), "") for i in range(n)]
    for layer in range(2):
        for i in range(n):
            first = 2 * (layer * n + i)
            expected += [("RY", (i,), f"w{first} + x0"), ("RZ", (i,), f"w{first + 1}")]
        expected += [("CNOT", wires, "") for wires in CNOTS[pattern, n]]
    assert written(RyRzCnot(n_qubits=n, n_layers=2, pattern=pattern)) == expected


@pytest.mark.parametrize(
    ("encoding", "layers"), [("every_layer", {0, 1, 2}), ("first_layer", {0}), ("none", set())]
)
def test_the_score_enters_where_the_encoding_says(encoding: Any, layers: set[int]) -> None:
    ansatz = RyRzCnot(n_qubits=3, n_layers=3, encoding=encoding, frequencies=(1, -2, 0.5))
    turns = [g.angle for g in Circuit(ansatz).trace().gates if g.name == "RY"]
    for place, angle in enumerate(turns):
        layer, wire = divmod(place, 3)
        assert angle is not None
        assert angle.terms.get(("x", 0), 0.0) == ((1, -2, 0.5)[wire] if layer in layers else 0.0)
        assert angle.terms["w", 2 * place] == 1.0


def test_it_is_an_ordinary_pennylane_template() -> None:
    with qml.queuing.AnnotatedQueue() as queue:
        RyRzCnot(n_qubits=2, n_layers=1).apply(_numbers((1,)), _numbers((1, 2, 2)))
    names = [op.name for op in qml.tape.QuantumScript.from_queue(queue).operations]
    assert names == ["Hadamard", "Hadamard", "RY", "RZ", "RY", "RZ", "CNOT"]


def _numbers(shape: tuple[int, ...]) -> Any:
    return qml.numpy.ones(shape)


def test_a_list_of_frequencies_is_as_good_as_a_tuple() -> None:
    listed: Any = [1, 2]
    ansatz = RyRzCnot(n_qubits=2, n_layers=1, frequencies=listed)
    assert ansatz == RyRzCnot(n_qubits=2, n_layers=1, frequencies=(1, 2))
    assert Circuit(ansatz).fourier_degree() == 3


@pytest.mark.parametrize("size", ["n_qubits", "n_layers"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "2", None])
def test_a_size_that_is_none_is_named(size: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"^{size}="):
        dataclasses.replace(RyRzCnot(), **{size: value})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_qubits": 0}, "n_qubits=0: give a positive integer"),
        ({"n_qubits": 2.0}, "n_qubits=2.0"),
        ({"n_layers": -1}, "n_layers=-1"),
        ({"n_layers": True}, "n_layers=True"),
        ({"pattern": "star"}, "pattern='star': choose one of 'chain', 'ring', 'brick'"),
        ({"encoding": "all"}, "encoding='all': choose one of 'every_layer', 'first_layer', 'none'"),
        ({"frequencies": 2}, "frequencies=2: give a tuple"),
        ({"frequencies": (1, 2)}, "one factor for each of 4 qubits"),
        ({"frequencies": (1, 2, 3, float("nan"))}, "frequencies=.*finite"),
        ({"frequencies": ("1", 2, 3, 4)}, "frequencies=.*finite"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        RyRzCnot(**fields)
