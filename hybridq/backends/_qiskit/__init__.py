"""From a traced circuit to Qiskit: compilation, simulation, and the device `hybridq.qiskit`."""
