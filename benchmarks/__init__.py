"""Speed and memory against the references, measured interleaved in one run: `python -m benchmarks.NAME`."""
