"""What a circuit is made of."""

from dataclasses import dataclass
from typing import Any

import pytest

from hybridq.circuits import AbstractAnsatz, Circuit, ExpvalZ, RyRzCnot
from hybridq.errors import InvalidArgument


@dataclass
class Thawed(AbstractAnsatz):
    """Its author forgot to freeze it."""

    n_qubits: int = 1
    n_inputs: int = 1
    weight_shape: tuple[int, ...] = (1,)

    def apply(self, inputs: Any, weights: Any) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("ansatz", "message"),
    [
        ("ry_rz_cnot", r"^ansatz='ry_rz_cnot'.*catalogue\.load\('circuits', 'ry_rz_cnot'\)\(\)"),
        (RyRzCnot, r"^ansatz=.*the class.*RyRzCnot\(\.\.\.\)"),
        (None, r"^ansatz=None.*AbstractAnsatz"),
        (int, r"^ansatz=.*AbstractAnsatz"),
        (Thawed(), r"^ansatz=Thawed.*@dataclass\(frozen=True\)"),
    ],
    ids=["name", "class", "None", "another class", "not frozen"],
)
def test_what_is_no_ansatz_is_refused(ansatz: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Circuit(ansatz)


@pytest.mark.parametrize(
    ("readout", "message"),
    [(ExpvalZ, r"the class.*ExpvalZ\(\.\.\.\)"), ("expval_z", "AbstractReadout")],
)
def test_what_is_no_readout_is_refused(readout: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^readout=.*{message}"):
        Circuit(RyRzCnot(), readout)
