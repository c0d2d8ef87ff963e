"""From a traced circuit to Qiskit: translation, compilation, and simulation with Aer."""
