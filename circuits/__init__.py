"""What runs: ansaetze as ordinary PennyLane functions, one file each, and what is measured after them.

Shipped as `hybridq.circuits`. A new ansatz is one file here, a frozen dataclass derived from
`AbstractAnsatz`.
"""

from hybridq.circuits._angle import Angle
from hybridq.circuits._ansatz import AbstractAnsatz
from hybridq.circuits._circuit import Circuit
from hybridq.circuits._fourier import FourierForm
from hybridq.circuits._readout import (
    AbstractReadout,
    ExpvalZ,
    FirstProbabilities,
    Probabilities,
    RealAmplitudes,
)
from hybridq.circuits._trace import Gate, Trace, gates_of
from hybridq.circuits.ry_rz_cnot import RyRzCnot

__all__ = [
    "AbstractAnsatz",
    "AbstractReadout",
    "Angle",
    "Circuit",
    "ExpvalZ",
    "FirstProbabilities",
    "FourierForm",
    "Gate",
    "Probabilities",
    "RealAmplitudes",
    "RyRzCnot",
    "Trace",
    "gates_of",
]
