"""Run `python -m hybridq.cli` as the command `hybridq`."""

from hybridq.cli.app import main

main()
