"""What every backend stands on: contract, names and options, tapes, devices, shift gradients."""
