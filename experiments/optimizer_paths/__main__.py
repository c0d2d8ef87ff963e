"""The command: `python -m experiments.optimizer_paths`."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import track

from experiments.optimizer_paths.figures import FIGURES
from experiments.optimizer_paths.methods import METHODS
from experiments.optimizer_paths.searches import Trace
from experiments.optimizer_paths.summary import summary_of
from experiments.shared.command_line import results_folder, run
from experiments.shared.figures import save_figures
from experiments.shared.summary import write_summary
from hybridq.errors import require


def search_all(seeds: int, evaluations: int) -> dict[str, list[Trace]]:
    """Run every method for every seed, on one thread, since nothing here is large.

    Args:
        seeds: Number of starts.
        evaluations: Number of evaluations of the loss, for every method.

    Returns:
        What each method did for each seed.
    """
    torch.set_num_threads(1)
    console = Console(stderr=True)
    methods = track(METHODS.items(), "searching", console=console, transient=True)
    return {
        name: [method.search(seed, evaluations) for seed in range(seeds)]
        for name, method in methods
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
    """Search a surface with many minima with every optimizer, and draw where each went.

    Claim (QIASO, the figures on Rastrigin's function): the search falls fast and monotonically
    towards the global minimum. SPGD and SGD-QT claim that their perturbations lead out of local
    minima.

    The controls are Adam, Adam with random restarts, random search and CMA-ES at equal evaluations,
    on a surface whose optimum is not at 0, where a search that shrinks its weights would end. The
    folder gets a figure of each optimizer and all numbers, summary.json.
    """
    require("matplotlib", "experiments")
    folder = results_folder(output, "optimizer-paths")
    if smoke:
        seeds = 2
        evaluations = 100
    traces = search_all(seeds, evaluations)
    summary = summary_of(traces, evaluations)
    write_summary(folder, summary)
    figures = {name: draw(traces, min(seed, seeds - 1)) for name, (draw, seed) in FIGURES.items()}
    save_figures(figures, folder)
    for name, method in summary["methods"].items():
        lowest = method["lowest_loss_mean"]
        n_best = method["seeds_in_the_best_basin"]
        print(f"{METHODS[name].label:52} {lowest:30} {n_best:2} of {seeds} in the best basin")
    print(f"The figures: {folder}")


if __name__ == "__main__":
    run(main)
