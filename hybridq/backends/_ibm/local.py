"""Devices that run in this process under the runtime's own primitives: fake ones, an ideal one."""

from collections.abc import Sequence
from typing import Any

from hybridq.backends._qiskit.device_noise import cut_target, fake_device
from hybridq.errors import require

__all__ = ["BASIS", "IDEAL", "cut_device", "is_local", "local_device"]

IDEAL = "aer_simulator"
BASIS = ("rz", "sx", "x", "cz")  # of the ideal device: twirling knows IBM's own gates only


def is_local(name: str) -> bool:
    """Tell whether a device of this name costs nothing and needs no account."""
    return name == IDEAL or name.startswith("fake_")


def local_device(name: str) -> Any:
    """Make a local device.

    Args:
        name: A fake device such as "fake_torino", or "aer_simulator" for one without noise.

    Raises:
        UnknownName: If there is no such fake device.
        MissingExtra: If qiskit-ibm-runtime or qiskit-aer is not installed.
    """
    if name == IDEAL:
        return require("qiskit_aer", "ibm").AerSimulator(method="statevector")
    return fake_device(name)


def cut_device(device: Any, physical: Sequence[int]) -> Any:
    """Cut a device down to some of its qubits.

    A local job then costs 0.1 s instead of seconds, with the same noise.

    Args:
        device: A fake device.
        physical: Its qubits, in the order in which the circuit numbers them.

    Returns:
        A Qiskit backend that the runtime's primitives run on.
    """
    target = cut_target(device.target, physical, timed=True)
    providers = require("qiskit.providers", "ibm")

    class CutDevice(providers.BackendV2):  # type: ignore[misc, name-defined]
        """Some qubits of a device, which the runtime simulates by its target."""

        max_circuits = None

        @property
        def target(self) -> Any:
            return target

        @classmethod
        def _default_options(cls) -> Any:
            return providers.Options()

        def run(self, run_input: Any, **options: Any) -> Any:
            raise NotImplementedError

    return CutDevice(name=device.name)
