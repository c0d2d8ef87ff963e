"""What is particular to PennyLane's devices: how they refuse, and what is counted after that."""

import pickle
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import pennylane as qml
import pytest
import torch

from hybridq.backends import resolve
from hybridq.backends._core.pennylane_device import PennyLaneDevice
from hybridq.circuits import AbstractAnsatz, Circuit, RyRzCnot
from hybridq.errors import BackendUnavailable

CIRCUIT = Circuit(RyRzCnot(n_qubits=2, n_layers=1))


def run(name: str) -> None:
    resolve(name).evaluate(
        CIRCUIT, torch.zeros(1, 1), torch.zeros(CIRCUIT.weight_shape, requires_grad=True)
    )


@pytest.mark.filterwarnings("ignore:Operator .* does not define a decomposition")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("default.qutrit", "RZ not supported"),
        ("default.gaussian", "single measurements"),
        ("default.qubit:diff_method=foo", "foo not recognized"),
        ("default.qubit:diff_method=adjoint,shots=5", "does not support adjoint"),
        ("lightning.qubit:diff_method=backprop", "does not support backprop"),
    ],
)
def test_a_refusal_says_which_device_and_what_it_says(name: str, message: str) -> None:
    with pytest.raises(
        BackendUnavailable, match=rf"(?s)^backend=.*{message}.*another backend"
    ) as caught:
        run(name)
    assert repr(name.partition(":")[0]) in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("name", "module"), [("default.tensor", "quimb"), ("default.clifford", "stim")]
)
def test_a_device_whose_module_is_missing(name: str, module: str) -> None:
    try:
        metadata.version(module)
    except metadata.PackageNotFoundError:
        with pytest.raises(BackendUnavailable, match=f"pip install {module}"):
            run(name)
        with pytest.raises(BackendUnavailable, match=f"pip install {module}"):
            resolve(name).device(2)
    else:
        pytest.skip(f"{module} is installed")


@dataclass(frozen=True)
class Fails(AbstractAnsatz):
    """Refuses inputs above 1, with an error of its own."""

    n_qubits: int = 1
    n_inputs: int = 1
    weight_shape: tuple[int, ...] = (1,)

    def apply(self, inputs: Any, weights: Any) -> None:
        if (inputs > 1).any():
            raise ZeroDivisionError
        qml.RY(inputs[..., 0] + weights[..., 0], 0)


def test_an_error_of_the_ansatz_is_its_own_and_counting_goes_on() -> None:
    counts = []
    for fails in (False, True):
        backend = PennyLaneDevice("lightning.qubit", diff_method="parameter-shift")
        weights = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        outputs = backend.evaluate(
            Circuit(Fails()), torch.zeros(3, 1, dtype=torch.float64), weights
        )
        if fails:
            with pytest.raises(ZeroDivisionError):
                backend.evaluate(
                    Circuit(Fails()), torch.full((3, 1), 2.0, dtype=torch.float64), weights
                )
        outputs.sum().backward()
        counts.append(backend.n_circuits_run)
    assert counts[0] > 3
    assert counts[1] == counts[0], "the backward pass is counted after a failed evaluation too"


def test_a_copy_leaves_the_qnodes_behind() -> None:
    backend = PennyLaneDevice()
    backend.evaluate(CIRCUIT, torch.zeros(1, 1), torch.zeros(CIRCUIT.weight_shape))
    assert backend._nodes
    assert pickle.loads(pickle.dumps(backend))._nodes == {}  # noqa: S301
