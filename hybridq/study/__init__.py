"""Data sets, the training loop, run records, statistics and reports.

This room knows nothing of quantum circuits.
"""
