"""A figure of each optimizer: one of its paths, and the loss of all starts beside its controls."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.optimizer_paths.drawing import (
    Look,
    draw_candidates,
    draw_losses,
    draw_path,
    draw_surface,
    two_panels,
)
from experiments.optimizer_paths.searches import Trace
from experiments.shared.figures import legend_below

__all__ = ["FIGURES", "qiaso_figure", "superpositional_figure", "tunneling_figure"]

_DASHED = (0, (5, 1.6))
_DOTTED = (0, (1.2, 1.4))
_MIXED = (0, (6, 1.5, 1.2, 1.5))

Traces = Mapping[str, Sequence[Trace]]


def superpositional_figure(traces: Traces, seed: int) -> Any:
    """Draw where the sine bends the path of Adam, and that it ends in the same minimum.

    Args:
        traces: What each method did for each seed.
        seed: The start whose path is drawn.

    Returns:
        A matplotlib figure.
    """
    looks = {
        "adam": Look("Adam", 5),
        "spgd-0.5": Look("SPGD, λ 0.5", 0, _DASHED),
        "spgd-0.9": Look("SPGD, λ 0.9", 2, _DOTTED),
        "spgd-2": Look("SPGD, λ 2", 3, _MIXED),
        "spgd-printed-0.5": Look("SPGD as printed, λ 0.5, not clipped", 1),
    }
    title = (
        "SuperpositionalAdam bends Adam's path; normalized and with λ < 1, "
        "it ends in the same minimum"
    )
    figure, left, right = two_panels(title, len(traces["adam"]))
    x, y = traces["adam"][seed].path[-1]
    draw_surface(figure, left, centre=(x + 0.24, y + 0.2), reach=0.5)
    for name, look in looks.items():
        draw_path(left, traces[name][seed], look)
    by_look = {look: traces[name] for name, look in looks.items()}
    draw_losses(right, by_look, linear_below=None, lowest=False)
    legend_below(figure, (right, left), columns=4)
    return figure


def tunneling_figure(traces: Traces, seed: int) -> Any:
    """Draw jumps from minimum to minimum, and that the jump does not know which is better.

    Args:
        traces: What each method did for each seed.
        seed: The start whose path is drawn.

    Returns:
        A matplotlib figure.
    """
    looks = {
        "tunneling-adam": Look("QuantumTunneling around Adam", 0),
        "tunneling-adam-reverting": Look("the same, jumps taken back if no better", 2, _DASHED),
        "tunneling-reset-only": Look("reset only, like Adam alone", 5),
        "adam-restarted": Look("Adam, restarted at random", 1, _MIXED),
        "random-search": Look("random search", 3, _DOTTED),
    }
    title = "QuantumTunneling jumps from minimum to minimum, blind to which is lower"
    figure, left, right = two_panels(title, len(traces["adam"]))
    draw_surface(figure, left, centre=(1.2, 0.4), reach=3.7)
    draw_path(left, traces["tunneling-adam"][seed], looks["tunneling-adam"])
    by_look = {look: traces[name] for name, look in looks.items()}
    draw_losses(right, by_look, linear_below=1)
    legend_below(figure, (right, left), columns=4)
    return figure


def qiaso_figure(traces: Traces, seed: int) -> Any:
    """Draw the candidates at some steps, and the collapses of the centre.

    Args:
        traces: What each method did for each seed.
        seed: The start whose path is drawn.

    Returns:
        A matplotlib figure.
    """
    looks = {
        "qiaso": Look("QIASO, mean", 0),
        "qiaso-argmax": Look("QIASO, argmax", 7, _DASHED),
        "qiaso-no-tunnelling": Look("QIASO, mean, no tunnelling", 4, _DOTTED),
        "qiaso-default": Look("QIASO, sizes 0.02", 5),
        "random-search": Look("random search", 6, _MIXED),
        "cma-es": Look("CMA-ES", 2, _DASHED),
    }
    title = "QIASO: thirty candidates at a time, no gradient"
    figure, left, right = two_panels(title, len(traces["adam"]))
    draw_surface(figure, left, centre=(0.0, 0.0), reach=3.6)
    draw_candidates(left, traces["qiaso"][seed], colours={1: 1, 10: 3, 30: 2})
    draw_path(left, traces["qiaso"][seed], looks["qiaso"], collapses=True)
    by_look = {look: traces[name] for name, look in looks.items()}
    draw_losses(right, by_look, linear_below=0.01)
    legend_below(figure, (right, left), columns=4)
    return figure


FIGURES = {  # The function that draws, and the start whose path is drawn.
    "superpositional-adam": (superpositional_figure, 2),
    "quantum-tunneling": (tunneling_figure, 13),
    "qiaso": (qiaso_figure, 2),
}
