"""The three optimizers on a surface with many minima, seen from above.

    python -m experiments.optimizer_paths

The surface is Rastrigin's function of two variables, shifted, so that neither the optimum nor a
start is at 0 (SPEC section 5, last row). Every search has the same number of evaluations and, for a
seed, the same start. A gradient counts as one evaluation, although it costs about three, and random
search knows the region in which the optimum is. Two variables are easy for a search without
gradients: nothing here says how any of them trains a network.

Files, in reading order: `searches` (the surface and the ways to search it), `methods` (the searches
that are compared), `summary`, `drawing` (the parts of a figure), `figures`.
"""
