"""The command `hybridq`, a file for each group of subcommands."""
