"""The noise of an IBM device, cut down to the qubits that a circuit uses."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hybridq.backends._core.shift import Array
from hybridq.errors import InvalidArgument, UnknownName, require

__all__ = [
    "confuse",
    "confusion_matrices",
    "cut_target",
    "fake_device",
    "fake_names",
    "noise_model",
]


def fake_names() -> dict[str, str]:
    """Return the class names of the fake IBM devices, by names such as "fake_torino".

    They come with qiskit-ibm-runtime.

    Raises:
        MissingExtra: If qiskit-ibm-runtime is not installed.
    """
    provider = require("qiskit_ibm_runtime.fake_provider", "ibm")
    base = require("qiskit_ibm_runtime.fake_provider.fake_backend", "ibm").FakeBackendV2
    classes: dict[str, Any] = {
        n: c for n, c in vars(provider).items() if isinstance(c, type) and issubclass(c, base)
    }
    return {c.backend_name: n for n, c in classes.items()}


def fake_device(name: str) -> Any:
    """Make a fake IBM device: a snapshot of the qubits, gates and calibration of a real one.

    Args:
        name: For example "fake_torino".

    Raises:
        UnknownName: If there is none of this name; the message lists the nearest ones.
        InvalidArgument: If it is not a name.
        MissingExtra: If qiskit-ibm-runtime is not installed.
    """
    if not isinstance(name, str):
        raise InvalidArgument.of(
            "noise", name, "give the name of a fake IBM device, such as 'fake_torino', or None"
        )
    known = fake_names()
    if name not in known:
        raise UnknownName.among("fake device", name, known)
    return vars(require("qiskit_ibm_runtime.fake_provider", "ibm"))[known[name]]()


def noise_model(target: Any, physical: Sequence[int]) -> Any:
    """Build Aer's noise model of some of a device's qubits, without the cost of the others.

    The errors follow Aer's own rules.

    Args:
        target: The device's Qiskit `Target`.
        physical: The device's qubits, in the order in which the circuit numbers them.

    Returns:
        A `NoiseModel`: depolarising and thermal relaxation errors after each gate, and readout
            errors.
    """
    aer = require("qiskit_aer.noise", "ibm")
    cut = cut_target(target, physical)
    model = aer.NoiseModel(basis_gates=[name for name in cut.operation_names if name != "measure"])
    for name, qubits, error in aer.device.basic_device_gate_errors(target=cut):
        model.add_quantum_error(error, name, qubits)
    for qubits, error in aer.device.basic_device_readout_errors(target=cut):
        model.add_readout_error(error, qubits)
    return model


def cut_target(target: Any, physical: Sequence[int], timed: bool = False) -> Any:
    """Cut a device's `Target` down to some of its qubits.

    Args:
        target: The device's Qiskit `Target`.
        physical: The device's qubits, in the order in which the circuit numbers them.
        timed: Keep delays and resets and the grid of times, too, which scheduling needs.
    """
    gate = require("qiskit.circuit", "ibm").Gate
    cut = require("qiskit.transpiler", "ibm").Target(
        num_qubits=len(physical),
        dt=target.dt,
        qubit_properties=[target.qubit_properties[q] for q in physical],
    )
    kept_names = {"measure", "delay", "reset"} if timed else {"measure"}
    if timed:
        cut.granularity, cut.min_length = target.granularity, target.min_length
        cut.pulse_alignment = target.pulse_alignment
        cut.acquire_alignment = target.acquire_alignment
    number = {qubit: i for i, qubit in enumerate(physical)}
    for name in target.operation_names:
        operation = target.operation_from_name(name)
        if isinstance(operation, gate) or name in kept_names:
            kept = {qs: p for qs, p in target[name].items() if number.keys() >= set(qs)}
            cut.add_instruction(
                operation, {tuple(number[q] for q in qs): p for qs, p in kept.items()}, name=name
            )
    return cut


def confusion_matrices(model: Any, qubits: Sequence[int]) -> list[Array]:
    """Read the readout errors of a noise model.

    Args:
        model: The `NoiseModel`.
        qubits: The measured qubits.

    Returns:
        For each qubit a matrix P[prepared, measured] of shape (2, 2).
    """
    errors = {
        tuple(error["gate_qubits"][0]): error["probabilities"] for error in _readout_errors(model)
    }
    return [np.asarray(errors.get((qubit,), np.eye(2)), dtype=np.float64) for qubit in qubits]


def _readout_errors(model: Any) -> list[dict[str, Any]]:
    return [error for error in model.to_dict()["errors"] if error["type"] == "roerror"]


def confuse(probabilities: Array, matrices: Sequence[Array]) -> Array:
    """Turn the probabilities of the states into those of the bits that are read.

    Args:
        probabilities: Shape (points, 2**n).
        matrices: For each wire P[prepared, measured], shape (2, 2).

    Returns:
        The same shape.
    """
    tensor = probabilities.reshape(-1, *[2] * len(matrices))
    for wire, matrix in enumerate(matrices):
        tensor = np.moveaxis(np.tensordot(tensor, matrix, axes=(wire + 1, 0)), -1, wire + 1)
    return tensor.reshape(probabilities.shape)
