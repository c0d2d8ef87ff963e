"""Where circuits run: one file each, one contract.

`resolve("aer")` makes a backend from its name. The other names are the kit for backends of your
own: derive from `AbstractBackend`, run PennyLane's tapes by `BackendDevice`, and differentiate by
parameter shift with `evaluate_by_shifts`.
"""

from hybridq.backends._core.contract import AbstractBackend, Capabilities, check_shots, moments
from hybridq.backends._core.device import BackendDevice
from hybridq.backends._core.readout_errors import inverse_confusion
from hybridq.backends._core.resolve import BackendInfo, available, resolve
from hybridq.backends._core.shift import ParametrisedCircuit, evaluate_by_shifts
from hybridq.backends._core.spec import BackendSpec
from hybridq.backends._core.tapes import TapeAnsatz, TapeReading, read_tape

__all__ = [
    "AbstractBackend",
    "BackendDevice",
    "BackendInfo",
    "BackendSpec",
    "Capabilities",
    "ParametrisedCircuit",
    "TapeAnsatz",
    "TapeReading",
    "available",
    "check_shots",
    "evaluate_by_shifts",
    "inverse_confusion",
    "moments",
    "read_tape",
    "resolve",
]
