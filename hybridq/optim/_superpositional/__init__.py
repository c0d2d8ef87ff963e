"""The parts of `SuperpositionalAdam`."""
