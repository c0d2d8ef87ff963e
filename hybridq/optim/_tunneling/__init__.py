"""The parts of `QuantumTunneling`."""
