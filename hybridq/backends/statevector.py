"""hybridq's own engine: exact, embedded, on the device where the tensors are."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pennylane as qml
import torch
from torch import Tensor

from hybridq import __version__
from hybridq.backends._core.contract import AbstractBackend, Capabilities
from hybridq.backends._core.device import BackendDevice
from hybridq.circuits import Circuit
from hybridq.engine import MAX_QUBITS, Engine, choose, evaluate
from hybridq.engine.coefficients import fused_coefficients, fused_kernels

__all__ = ["Statevector"]


@dataclass
class Statevector(AbstractBackend):
    """The default backend: batched state vectors, with gradients by a reversible adjoint.

    torch.compile traces it without breaking the graph; what compiled code runs is not counted in
    `n_circuits_run`.

    Args:
        engine: "native" for the compiled kernels, which run on CPUs; "torch"; or "auto": native
            where it can be had.

    Raises:
        InvalidArgument: If there is no such engine.
        BackendUnavailable: If the engine is "native" and there are no kernels, or when tensors are
            not on a CPU.

    Example:
        >>> import torch
        >>> from hybridq.circuits import Circuit, RyRzCnot
        >>> circuit = Circuit(RyRzCnot(n_qubits=1, n_layers=1))
        >>> Statevector().evaluate(circuit, torch.zeros(1, 1), torch.zeros(1, 1, 2)).abs() < 1e-6
        tensor([[True]])
    """

    traceable: ClassVar[bool] = True
    addresses_sets: ClassVar[bool] = True

    engine: Engine = "auto"

    def __post_init__(self) -> None:
        choose(self.engine, torch.device("cpu"))

    @property
    def name(self) -> str:
        """`statevector`."""
        return "statevector"

    @property
    def capabilities(self) -> Capabilities:
        """Exact, up to 20 qubits."""
        return Capabilities(exact=True, gradient="adjoint", max_qubits=MAX_QUBITS)

    def device(self, n_qubits: int) -> qml.devices.Device:
        """Return a PennyLane device that runs its tapes on this engine."""
        return BackendDevice(self, n_qubits)

    def provenance(self) -> dict[str, Any]:
        """Return name and versions, and what runs on a CPU: torch, or native kernels."""
        kernels = choose(self.engine, torch.device("cpu"))
        return {
            "backend": self.name,
            "engine": "torch" if kernels is None else "native",
            "instruction_set": None if kernels is None else kernels.name,
            "hybridq": __version__,
            "torch": torch.__version__,
            "shots": None,
            "noise": None,
        }

    def coefficients(
        self, circuit: Circuit, weights: Tensor, readout: Tensor, gate: Tensor
    ) -> Tensor:
        """Return the Fourier coefficients, by one call of the kernels where they can be had."""
        # A subclass may run circuits in a way of its own.
        inherited = type(self)._evaluate is Statevector._evaluate
        kernels = fused_kernels(self.engine, circuit, weights, readout, gate) if inherited else None
        if kernels is None:
            return super().coefficients(circuit, weights, readout, gate)
        coefficients = fused_coefficients(kernels, circuit, weights, readout, gate)
        self.n_circuits_run += coefficients.numel()  # as many as samples
        return coefficients

    def _evaluate(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():  # a graph would be compiled anew for each number
            self.n_circuits_run += len(inputs)
        return evaluate(circuit, inputs, weights, self.engine)
