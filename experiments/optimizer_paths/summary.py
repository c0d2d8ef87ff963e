"""The numbers of all searches."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from experiments.optimizer_paths.methods import ADAM_LR, EPOCH, LEAP, METHODS, SGD_LR, SPREAD
from experiments.optimizer_paths.searches import OPTIMUM, Trace, rastrigin, start_of
from hybridq.study.statistics import paired, summarize

__all__ = ["summary_of"]

_BEST_BASIN = 0.99  # The second best minimum has the loss 0.995.


def summary_of(traces: Mapping[str, Sequence[Trace]], evaluations: int) -> dict[str, Any]:
    """Gather the problem, and the results of each method, seed by seed.

    Args:
        traces: What each method did for each seed.
        evaluations: Number of evaluations of the loss, for every method.

    Returns:
        JSON values.
    """
    methods = {name: _of_method(name, of_seeds) for name, of_seeds in traces.items()}
    for name, method in methods.items():
        for control in ("adam", "random-search"):
            if name != control:
                test = paired(method["lowest_loss"], methods[control]["lowest_loss"])
                method[f"against {control}"] = {
                    "difference": test.difference,
                    "interval": test.interval,
                    "p": test.p,
                }
    starts = [start_of(seed).tolist() for seed in range(len(traces["adam"]))]
    problem = {
        "optimum": OPTIMUM,
        "starts": starts,
        "evaluations": evaluations,
        "seeds": len(starts),
        "adam_lr": ADAM_LR,
        "sgd_lr": SGD_LR,
        "epoch": EPOCH,
        "leap": LEAP,
        "qiaso": SPREAD,
    }
    return {"problem": problem, "methods": methods}


def _of_method(name: str, traces: Sequence[Trace]) -> dict[str, Any]:
    """Return the lowest loss of each seed, and the loss where the search ended.

    Random search ends nowhere; the lowest loss stands for it.
    """
    lowest = [float(trace.best[-1]) for trace in traces]
    ends = [torch.tensor(trace.path[-1], dtype=torch.float64) for trace in traces]
    final = lowest if name == "random-search" else [float(rastrigin(end)) for end in ends]
    return {
        "label": METHODS[name].label,
        "lowest_loss": lowest,
        "final_loss": final,
        "lowest_loss_mean": summarize(lowest).text(3),
        "final_loss_mean": summarize(final).text(3),
        "seeds_in_the_best_basin": sum(loss < _BEST_BASIN for loss in lowest),
        "seeds_that_end_there": sum(loss < _BEST_BASIN for loss in final),
    }
