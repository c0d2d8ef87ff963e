"""The PennyLane device `hybridq.qiskit`: any Qiskit backend, with its own gradients."""
