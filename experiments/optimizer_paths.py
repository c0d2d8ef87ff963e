"""The three optimizers on a surface with many minima, seen from above: `python -m experiments.optimizer_paths`.

Rastrigin's function of two variables, shifted, so that neither the optimum nor a start is at 0
(SPEC section 5, last row). Every search has the same number of evaluations and, for a seed, the
same start. A gradient counts as one evaluation, although it costs about three, and random search
knows the region in which the optimum is. Two variables are easy for a search without gradients:
nothing here says how any of them trains a network.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import track

from experiments._command import run
from experiments._path_figures import Drawn, clouds, curves, legend, new_figure, path, surface
from experiments._path_methods import ADAM_LR, EPOCH, LEAP, METHODS, SGD_LR, SPREAD
from experiments._searches import OPTIMUM, Trace, rastrigin, start_of
from hybridq.errors import InvalidArgument, require
from hybridq.study.environment import environment
from hybridq.study.statistics import paired, summarize

FOUND = 0.99  # the second best minimum has the loss 0.995
_DASHED, _DOTTED, _MIXED = (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.5, 1.2, 1.5))

Runs = Mapping[str, Sequence[Trace]]


def search_all(seeds: int, evaluations: int) -> dict[str, list[Trace]]:
    """Run every method for every seed; on one thread, since nothing here is large."""
    torch.set_num_threads(1)
    methods = track(METHODS.items(), "searching", console=Console(stderr=True), transient=True)
    return {
        name: [method.search(seed, evaluations) for seed in range(seeds)]
        for name, method in methods
    }


def summary(runs: Runs, evaluations: int) -> dict[str, Any]:
    """What was asked, on what machine, and what each method found, seed by seed."""
    methods = {name: _of_method(name, traces) for name, traces in runs.items()}
    for name, found in methods.items():
        for control in ("adam", "random-search"):
            if name != control:
                test = paired(found["lowest_loss"], methods[control]["lowest_loss"])
                found[f"against {control}"] = {
                    "difference": test.difference,
                    "interval": test.interval,
                    "p": test.p,
                }
    settings = {"adam_lr": ADAM_LR, "sgd_lr": SGD_LR, "epoch": EPOCH, "leap": LEAP, "qiaso": SPREAD}
    starts = [start_of(seed).tolist() for seed in range(len(runs["adam"]))]
    problem = {
        "optimum": OPTIMUM,
        "starts": starts,
        "evaluations": evaluations,
        "seeds": len(starts),
        **settings,
    }
    return {"environment": environment(), "problem": problem, "methods": methods}


def _of_method(name: str, traces: Sequence[Trace]) -> dict[str, Any]:
    """The lowest loss of each seed, and the loss where the search ended: of random search the lowest again."""
    lowest = [float(trace.best[-1]) for trace in traces]
    ends = [float(rastrigin(torch.tensor(trace.path[-1], dtype=torch.float64))) for trace in traces]
    final = lowest if name == "random-search" else ends
    return {
        "label": METHODS[name].label,
        "lowest_loss": lowest,
        "final_loss": final,
        "lowest_loss_mean": summarize(lowest).text(3),
        "final_loss_mean": summarize(final).text(3),
        "seeds_in_the_best_basin": sum(loss < FOUND for loss in lowest),
        "seeds_that_end_there": sum(loss < FOUND for loss in final),
    }


def superpositional_figure(runs: Runs, seed: int) -> Any:
    """Where the sine bends the path of Adam, and that it ends in the same minimum."""
    drawn = {
        "adam": Drawn("Adam", 5),
        "spgd-0.5": Drawn("SPGD, λ 0.5", 0, _DASHED),
        "spgd-0.9": Drawn("SPGD, λ 0.9", 2, _DOTTED),
        "spgd-2": Drawn("SPGD, λ 2", 3, _MIXED),
        "spgd-printed-0.5": Drawn("SPGD as printed, λ 0.5, not clipped", 1),
    }
    figure, left, right = new_figure(
        "SuperpositionalAdam bends Adam's path; normalized and with λ < 1, it ends in the same minimum",
        len(runs["adam"]),
    )
    x, y = runs["adam"][seed].path[-1]
    surface(figure, left, (x + 0.24, y + 0.2), 0.5)
    for name, look in drawn.items():
        path(left, runs[name][seed], look)
    curves(
        right, {look: runs[name] for name, look in drawn.items()}, linear_below=None, lowest=False
    )
    legend(figure, (right, left))
    return figure


def tunneling_figure(runs: Runs, seed: int) -> Any:
    """Jumps from minimum to minimum, and that the jump does not know which is better."""
    drawn = {
        "tunneling-adam": Drawn("QuantumTunneling around Adam", 0),
        "tunneling-adam-reverting": Drawn("the same, jumps taken back if no better", 2, _DASHED),
        "tunneling-reset-only": Drawn("reset only, like Adam alone", 5),
        "adam-restarted": Drawn("Adam, restarted at random", 1, _MIXED),
        "random-search": Drawn("random search", 3, _DOTTED),
    }
    figure, left, right = new_figure(
        "QuantumTunneling jumps from minimum to minimum, blind to which is lower", len(runs["adam"])
    )
    surface(figure, left, (1.2, 0.4), 3.7)
    path(left, runs["tunneling-adam"][seed], drawn["tunneling-adam"])
    curves(right, {look: runs[name] for name, look in drawn.items()}, linear_below=1)
    legend(figure, (right, left))
    return figure


def qiaso_figure(runs: Runs, seed: int) -> Any:
    """The candidates at some steps, and the collapses of the centre."""
    drawn = {
        "qiaso": Drawn("QIASO, mean", 0),
        "qiaso-argmax": Drawn("QIASO, argmax", 7, _DASHED),
        "qiaso-no-tunnelling": Drawn("QIASO, mean, no tunnelling", 4, _DOTTED),
        "qiaso-default": Drawn("QIASO, sizes 0.02", 5),
        "random-search": Drawn("random search", 6, _MIXED),
        "cma-es": Drawn("CMA-ES", 2, _DASHED),
    }
    figure, left, right = new_figure(
        "QIASO: thirty candidates at a time, no gradient", len(runs["adam"])
    )
    surface(figure, left, (0.0, 0.0), 3.6)
    clouds(left, runs["qiaso"][seed], {1: 1, 10: 3, 30: 2})
    path(left, runs["qiaso"][seed], drawn["qiaso"], collapses=True)
    curves(
        right, {look: runs[name] for name, look in drawn.items() if name in runs}, linear_below=0.01
    )
    legend(figure, (right, left))
    return figure


FIGURES = {  # and the start whose path is drawn
    "superpositional-adam": (superpositional_figure, 2),
    "quantum-tunneling": (tunneling_figure, 13),
    "qiaso": (qiaso_figure, 2),
}


def main(
    seeds: Annotated[int, typer.Option(min=2, help="number of starts")] = 20,
    evaluations: Annotated[int, typer.Option(min=1, help="of the loss, for every method")] = 1500,
    output: Annotated[
        Path | None,
        typer.Option(help="a new folder for figures and numbers; below runs/ by default"),
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="some seconds: two starts, few evaluations")
    ] = False,
) -> None:
    """Search a surface with many minima with every optimizer, draw a figure of each and write summary.json."""
    require("matplotlib", "experiments")
    folder = output or Path("runs") / f"optimizer-paths-{datetime.now():%Y%m%d-%H%M%S}"
    if folder.exists():
        raise InvalidArgument.of(
            "output", str(folder), "it exists; name a new folder, or delete it"
        )
    if smoke:
        seeds, evaluations = 2, 100
    runs = search_all(seeds, evaluations)
    folder.mkdir(parents=True)
    found = summary(runs, evaluations)
    (folder / "summary.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    for name, (figure, seed) in FIGURES.items():
        figure(runs, min(seed, seeds - 1)).savefig(
            folder / f"{name}.png", dpi=130, metadata={"Software": None}
        )
    for name, method in found["methods"].items():
        lowest = method["lowest_loss_mean"]
        print(
            f"{METHODS[name].label:52} {lowest:30} {method['seeds_in_the_best_basin']:2} of {seeds} in the best basin"
        )
    print(f"The figures: {folder}")


if __name__ == "__main__":
    run(main)
