"""From a trace to the gates and qubits of a device: Qiskit's pass manager, with the device's own calibration."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hybridq.backends._core.shift import Parametrised
from hybridq.backends._qiskit.translation import PhysicalCircuit, compact, to_qiskit
from hybridq.errors import BackendUnavailable, InvalidArgument, require

__all__ = ["Compiler"]


@dataclass(eq=False)
class Compiler:
    """Compiles circuits for one device.

    Args:
        device: Qiskit's backend, whose target has the gates, the couplings and their errors; None
            connects all qubits.
        initial_layout: The device's qubit of each wire; None lets Qiskit choose those with the
            smallest errors.
        optimization_level: Qiskit's, 0 to 3.
        basis: The gates to compile for where there is no device; None leaves those of the circuit.
    """

    device: Any
    initial_layout: tuple[int, ...] | None
    optimization_level: int = 2
    basis: tuple[str, ...] | None = None
    transpilations: int = field(default=0, init=False)

    def compile(self, form: Parametrised) -> PhysicalCircuit:
        """Compile a circuit, and cut the result down to the qubits that it uses.

        Raises:
            BackendUnavailable: If the circuit does not fit the device.
            InvalidArgument: If `initial_layout` does not fit the circuit.
        """
        n_qubits = form.trace.n_qubits
        if self.device is not None:
            self._check(n_qubits)
        circuit, parameters = to_qiskit(form)
        self.transpilations += 1
        try:
            compiled = self._passes.run(circuit)
        except require("qiskit.transpiler.exceptions", "ibm").TranspilerError as error:
            raise BackendUnavailable(
                f"Qiskit cannot compile this circuit for {self.device.name!r}: {error}"
            ) from error
        return compact(compiled, n_qubits, parameters)

    def _check(self, n_qubits: int) -> None:
        if n_qubits > self.device.num_qubits:
            raise BackendUnavailable(
                f"n_qubits={n_qubits}: the device {self.device.name!r} has {self.device.num_qubits} qubits"
            )
        layout = self.initial_layout
        if layout is not None and not (
            len(layout) == len(set(layout) & set(range(self.device.num_qubits))) == n_qubits
        ):
            raise InvalidArgument.of(
                "initial_layout",
                layout,
                f"give one qubit of {self.device.name!r} for each of {n_qubits} wires",
            )

    @cached_property
    def _passes(self) -> Any:
        # Made once: the target of an AerSimulator is rebuilt at every access, and that of a device
        # takes 0.2 s.
        transpiler = require("qiskit.transpiler", "ibm")
        if self.device is None:  # all of our gates are Aer's own
            gates = None if self.basis is None else list(self.basis)
            return transpiler.generate_preset_pass_manager(optimization_level=0, basis_gates=gates)
        layout = None if self.initial_layout is None else list(self.initial_layout)
        return transpiler.generate_preset_pass_manager(
            optimization_level=self.optimization_level,
            target=self.device.target,
            initial_layout=layout,
            seed_transpiler=0,
        )
