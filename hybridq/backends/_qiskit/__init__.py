"""From a traced circuit to Qiskit: translation, compilation, simulation, and the device `hybridq.qiskit`."""
