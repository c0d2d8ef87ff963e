"""The parts of `QIASO`."""
