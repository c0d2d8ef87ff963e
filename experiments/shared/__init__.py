"""What several experiments use: the classifier, the optimizers, the command line, the summary."""
