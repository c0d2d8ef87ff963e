"""Any installed PennyLane device, through a QNode."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import pennylane as qml
import torch
from torch import Tensor

from hybridq.backends._core.contract import AbstractBackend, Capabilities, check_shots
from hybridq.backends._core.device import BackendDevice
from hybridq.backends._core.noise_levels import NoiseLevels
from hybridq.circuits import Circuit
from hybridq.errors import BackendUnavailable, InvalidArgument, UnknownName
from hybridq.seeding import derive

__all__ = ["PennyLaneDevice"]

_MIXED = "default.mixed"  # PennyLane's device with density matrices
# What PennyLane raises when a device does not do what it is asked. Other errors are the ansatz's
# own.
_REFUSALS = (
    qml.exceptions.DeviceError,
    qml.exceptions.QuantumFunctionError,
    qml.exceptions.WireError,
    qml.exceptions.DecompositionUndefinedError,
)


@dataclass
class PennyLaneDevice(AbstractBackend):
    """Circuits through a QNode on a PennyLane device.

    It also runs ansaetze whose angles are not affine.

    Args:
        device_name: The device, by PennyLane's name.
        shots: Shots per circuit; None means exact.
        seed: The source of the shots, for devices that take a seed.
        diff_method: PennyLane's name of the way to differentiate. "best" is backpropagation for
            `default.qubit`, the adjoint method for `lightning.qubit`, and with shots parameter
            shift.
        depolarizing: On `default.mixed`: after every gate, the probability p of a Pauli error on
            each of its wires, (1 - p) rho + p/3 (X rho X + Y rho Y + Z rho Z).
        damping: On `default.mixed`: after that, the probability that an excited qubit decays.
        readout_error: On `default.mixed`: the probability that a bit is read wrongly, the same for
            0 and 1.

    Raises:
        UnknownName: If PennyLane knows no such device here.
        InvalidArgument: If `shots` or `seed` cannot be used, there is noise for a device without
            density matrices, or the device makes its results up (`null.qubit`).

    Example:
        >>> import torch
        >>> from hybridq.circuits import Circuit, RyRzCnot
        >>> circuit = Circuit(RyRzCnot(n_qubits=1, n_layers=1))
        >>> backend = PennyLaneDevice("default.qubit")
        >>> backend.evaluate(circuit, torch.zeros(1, 1), torch.zeros(1, 1, 2)).abs() < 1e-6
        tensor([[True]])
    """

    device_name: str = "default.qubit"
    shots: int | None = None
    seed: int = 0
    diff_method: str = "best"
    depolarizing: float = 0.0
    damping: float = 0.0
    readout_error: float = 0.0
    _nodes: dict[Circuit, tuple[Callable[[Tensor, Tensor], Any], Any]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        check_shots(self.shots)
        derive(self.seed)  # refuses what is no seed
        if self.device_name not in qml.plugin_devices:
            raise UnknownName.among("PennyLane device", self.device_name, qml.plugin_devices)
        if self.device_name == "null.qubit":
            way_out = "it runs nothing and returns made-up results; choose another"
            raise InvalidArgument.of("device_name", self.device_name, way_out)
        levels = self._levels  # refuses what is no probability
        if self.device_name != _MIXED:
            levels.refuse(
                f"device_name={self.device_name!r} has no density matrices; take {_MIXED!r}, or "
                "backend 'aer'"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Leave the QNodes out of copies and pickles."""
        return {**vars(self), "_nodes": {}}

    @property
    def name(self) -> str:
        """The device's name."""
        return self.device_name

    @property
    def capabilities(self) -> Capabilities:
        """What PennyLane offers; the device itself may refuse more."""
        exact = self.shots is None
        return Capabilities(
            exact=exact,
            gradient="pennylane",
            max_qubits=24,
            amplitudes=exact and self.device_name != _MIXED,
            noisy=self._levels.acts,
        )

    def device(self, n_qubits: int) -> qml.devices.Device:
        """Return the PennyLane device itself, or one that runs its tapes here.

        Shots and noise belong to the QNodes of this backend, not to PennyLane's device.
        """
        plain = self.shots is None and not self._levels.acts
        return self._make(n_qubits) if plain else BackendDevice(self, n_qubits)

    def provenance(self) -> dict[str, Any]:
        """Return options and versions."""
        plugin = qml.plugin_devices[self.device_name].dist
        versions = {"pennylane": version("pennylane"), plugin.name: plugin.version}
        return {
            "backend": self.name,
            "shots": self.shots,
            "seed": self.seed,
            "diff_method": self.diff_method,
            "noise": asdict(self._levels) if self._levels.acts else None,
            "versions": versions,
        }

    @property
    def _levels(self) -> NoiseLevels:
        return NoiseLevels(self.depolarizing, self.damping, self.readout_error)

    def _evaluate(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        if circuit not in self._nodes:
            self._nodes[circuit] = self._node(circuit)
        node, tracker = self._nodes[circuit]
        # The tracker counts what a backward pass runs; in a forward pass some devices report each
        # circuit twice.
        tracker.active = False
        try:
            with self._refusals(*_REFUSALS), _default_dtype(inputs.dtype):
                outputs = circuit.readout.collect(node(inputs, weights))
        finally:
            tracker.active = True
        self.n_circuits_run += len(inputs)
        values = torch.as_tensor(outputs).to(inputs.device, inputs.dtype)
        return values.expand(len(inputs), circuit.n_outputs)

    def _make(self, n_qubits: int) -> qml.devices.Device:
        options: dict[str, Any] = {}
        with self._refusals(Exception):  # only the plugin's own code runs here
            if "seed" in inspect.signature(qml.plugin_devices[self.device_name].load()).parameters:
                # Each circuit has its own stream.
                options["seed"] = derive(self.seed, "pennylane", len(self._nodes))
            return qml.device(self.device_name, wires=n_qubits, **options)

    def _node(self, circuit: Circuit) -> tuple[Callable[[Tensor, Tensor], Any], Any]:
        device = self._make(circuit.n_qubits)
        tracker = qml.Tracker(device, callback=self._count, persistent=True)

        def run(inputs: Tensor, weights: Tensor) -> Any:
            if self.device_name == _MIXED:
                self._levels.queue(circuit.ansatz.apply, inputs, weights, circuit.n_qubits)
            else:
                circuit.ansatz.apply(inputs, weights)
            return circuit.readout.measure(circuit.n_qubits)

        with self._refusals(*_REFUSALS, ValueError):
            exact_node = qml.QNode(run, device, interface="torch", diff_method=self.diff_method)
            node = qml.set_shots(exact_node, self.shots)
        config = qml.devices.ExecutionConfig(gradient_method="backprop")
        backprop = (
            self.shots is None
            and self.diff_method in ("best", "backprop")
            and device.supports_derivatives(config)
        )
        # Parameter shift and the adjoint method do not differentiate a broadcast circuit.
        return (node if backprop else qml.transforms.broadcast_expand(node)), tracker

    @contextmanager
    def _refusals(self, *errors: type[Exception]) -> Iterator[None]:
        """Say which device refused, what it says, and what else there is."""
        try:
            yield
        except errors as error:
            raise BackendUnavailable(
                f"backend={self!r}: PennyLane's device refuses: {error}\n"
                "Change what it refuses, or choose another backend, such as 'statevector' or "
                "'default.qubit'."
            ) from error

    def _count(
        self, totals: dict[str, Any], history: dict[str, Any], latest: dict[str, Any]
    ) -> None:
        self.n_circuits_run += latest.get("executions", 0)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Set torch's default dtype for a while.

    Some devices return Python floats, which PennyLane turns into tensors of that dtype.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
