"""A paper's claim each: `python -m experiments.NAME`."""
