"""What runs: ansaetze as ordinary PennyLane functions, one file each, and readouts.

This folder is shipped as `hybridq.circuits`. A new ansatz is one file here, a frozen dataclass
derived from `AbstractAnsatz`. A new readout is one file in `readouts/`.
"""

from hybridq.circuits._angle import Angle
from hybridq.circuits._ansatz import AbstractAnsatz
from hybridq.circuits._circuit import Circuit
from hybridq.circuits._fourier import FourierForm
from hybridq.circuits._trace import Gate, Trace, gates_of
from hybridq.circuits.readouts._readout import AbstractReadout
from hybridq.circuits.readouts.expval_z import ExpvalZ
from hybridq.circuits.readouts.first_probabilities import FirstProbabilities
from hybridq.circuits.readouts.probabilities import Probabilities
from hybridq.circuits.readouts.real_amplitudes import RealAmplitudes
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
