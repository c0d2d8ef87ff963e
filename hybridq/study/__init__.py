"""Data sets, the training loop, run records, statistics and reports: the room that knows nothing of quantum."""
