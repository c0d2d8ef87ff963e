"""Speed and memory against the references: `python -m benchmarks.NAME`.

All pieces of work of a table are measured in turn, in one run. `--output FILE` writes the numbers;
without it they are printed only. Those that are committed lie in `benchmarks/results`.
"""
