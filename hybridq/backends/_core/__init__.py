"""What every backend stands on: the contract, names and options, PennyLane devices, gradients by shifts."""
