"""Figures of noise: what it does to accuracy and to Phi, and to each harmonic of Phi."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.shared.figures import legend_below, new_figure, plain_axes
from hybridq.errors import require
from hybridq.study.theme import LIGHT

__all__ = ["harmonics_figure", "levels_figure"]

_TITLES = {
    "depolarizing": ("depolarising", "probability p after each gate"),
    "damping": ("amplitude damping", "probability g after each gate"),
    "readout_error": ("readout error", "probability of a wrong bit"),
    "shots": ("shots", "shots per circuit"),
}
# The colour, line style and marker of each number of shots; None is exact.
_LOOKS: dict[Any, tuple[int, Any, str]] = {
    None: (0, "-", "o"),
    4096: (1, (0, (5, 1.6)), "s"),
    256: (2, (0, (1.2, 1.4)), "^"),
}
_DASHES = (
    "-",
    (0, (5, 1.6)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (3, 1.2, 1, 1.2, 1, 1.2)),
    (0, (2.2, 2.2)),
    (0, (1.2, 1.4)),
)
_MARKERS = "osD^vP"

Rows = list[dict[str, Any]]
Values = Callable[[dict[str, Any]], npt.NDArray[np.float64]]  # a number of each run from a row


def levels_figure(summary: Mapping[str, Any]) -> Any:
    """Draw accuracy and the error of Phi by the level of each noise, and by the shots.

    A line is the mean of the runs, its band one standard deviation.

    Args:
        summary: The summary of `experiments.noise`.

    Returns:
        A matplotlib figure.
    """
    before = np.array([run["accuracy"] for run in summary["runs"]])
    control = np.array([run["without_circuits"]["accuracy"] for run in summary["runs"]])
    figure, grid = _figure(
        "What noise does to a trained classifier, and to its Φ", len(before), (13.5, 7.0), (2, 4)
    )
    quantities: tuple[Values, Values] = (
        lambda row: 100 * (np.array(row["accuracy"]) - before),
        lambda row: 100 * np.array(row["phi_error"]),
    )
    for column, (noise, (title, label)) in enumerate(_TITLES.items()):
        for axes, values in zip(grid[:, column], quantities, strict=True):
            if noise == "shots":
                _draw_shots(axes, summary["settings"], values)
            else:
                _draw_levels(axes, summary["settings"], noise, values)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:,g}")
        grid[0, column].axhline(
            100 * float(np.mean(control - before)),
            color=LIGHT.muted,
            lw=1,
            ls=(0, (2, 3)),
            zorder=1,
            label="without circuits",
        )
        _panel_title(grid[0, column], title)
        _log_scale(grid[1, column], "{x:g} %")
        grid[1, column].set_xlabel(label)
    grid[0, 0].set_ylabel("change of test accuracy, points")
    grid[1, 0].set_ylabel("error of Φ, rms over rms of Φ")
    _share_vertical_axes(grid)
    legend_below(figure, grid.flatten(), columns=6)
    return figure


def harmonics_figure(summary: Mapping[str, Any]) -> Any:
    """Draw what the noise of the gates leaves of each harmonic of Phi, exactly.

    Args:
        summary: The summary of `experiments.noise`.

    Returns:
        A matplotlib figure.
    """
    title = "What noise of the gates leaves of each harmonic of Φ"
    figure, grid = _figure(title, len(summary["runs"]), (10.5, 4.6), (1, 2))
    for axes, noise in zip(grid[0], ("depolarizing", "damping"), strict=True):
        rows = _select(summary["settings"], noise, shots=None, mitigated=False)
        for number, row in enumerate(row for row in rows if row["level"] > 0):
            left = np.array(row["harmonics"])  # (runs, D)
            look = {
                "color": LIGHT.series[number],
                "ls": _DASHES[number % len(_DASHES)],
                "marker": _MARKERS[number % len(_MARKERS)],
            }
            _draw_line(axes, np.arange(1, left.shape[1] + 1), left, f"{row['level']:g}", look)
        _panel_title(axes, _TITLES[noise][0])
        axes.set_xlabel("harmonic")
        _log_scale(axes, "{x:g}")
        axes.set_ylim(1e-4, 1.6)
    grid[0, 0].set_ylabel("amplitude left, noiseless = 1")
    grid[0, 1].tick_params(labelleft=False)
    legend_below(figure, grid.flatten(), columns=6, title="probability after each gate")
    return figure


def _draw_levels(axes: Any, rows: Rows, noise: str, values: Values) -> None:
    """Draw a quantity by the level of a noise: exact and with shots, mitigated and not."""
    for shots, (colour, dashes, marker) in _LOOKS.items():
        for mitigated in (False, True):
            chosen = [row for row in _select(rows, noise, shots, mitigated) if row["level"] > 0]
            if not chosen or (mitigated and shots is None):
                continue
            label = f"{shots:,} shots" if shots else "exact"
            look = {
                "color": LIGHT.series[colour + 2 * mitigated],
                "ls": dashes,
                "marker": "D" if mitigated else marker,
            }
            by_level = np.stack([values(row) for row in chosen], axis=1)  # (runs, levels)
            levels = [row["level"] for row in chosen]
            _draw_line(axes, levels, by_level, label + ", mitigated" * mitigated, look)


def _draw_shots(axes: Any, rows: Rows, values: Values) -> None:
    """Draw a quantity by the number of shots: without readout errors, with them, and mitigated."""
    levels = sorted({row["level"] for row in rows if row["shots"] == 16})
    cases = [(level, False) for level in levels] + [(levels[-1], True)]
    for number, (level, mitigated) in enumerate(cases):
        chosen = [
            row
            for row in rows
            if row["shots"] and (row["level"], row["mitigated"]) == (level, mitigated)
        ]
        chosen = [row for row in chosen if row["noise"] == "readout_error"]
        chosen = sorted(chosen, key=lambda row: int(row["shots"]))
        label = f"bits wrong {100 * level:g} %" + ", mitigated" * mitigated
        look = {
            "color": LIGHT.series[(5, 6, 7)[number]],
            "ls": _DASHES[number],
            "marker": "vPX"[number],
        }
        by_shots = np.stack([values(row) for row in chosen], axis=1)  # (runs, shots)
        _draw_line(axes, [row["shots"] for row in chosen], by_shots, label, look)


def _select(rows: Rows, noise: str, shots: int | None, mitigated: bool) -> Rows:
    wanted = (noise, shots, mitigated)
    chosen = [row for row in rows if (row["noise"], row["shots"], row["mitigated"]) == wanted]
    return sorted(chosen, key=lambda row: float(row["level"]))


def _draw_line(
    axes: Any,
    x: Sequence[float] | Any,
    runs: npt.NDArray[np.float64],
    label: str,
    look: dict[str, Any],
) -> None:
    """Draw the mean of the runs, and a band of one standard deviation either way."""
    mean = runs.mean(0)
    if len(runs) > 1:
        spread = runs.std(0, ddof=1)
        axes.fill_between(
            x, mean - spread, mean + spread, color=look["color"], alpha=0.14, lw=0, zorder=2
        )
    axes.plot(x, mean, lw=1.9, ms=5, mec="white", mew=0.8, label=label, zorder=3, **look)


def _figure(
    title: str, n_runs: int, size: tuple[float, float], shape: tuple[int, int]
) -> tuple[Any, Any]:
    """Make a figure with a grid of panels, and return both."""
    runs = f"{n_runs} trained runs, mean ± standard deviation" if n_runs > 1 else "one trained run"
    figure = new_figure(f"{title}  ({runs})", size, gaps=(0.09, 0.08, 0.03))
    grid = figure.subplots(*shape, squeeze=False)
    for axes in grid.flatten():
        plain_axes(axes, bottom_line=True)
        axes.set_axisbelow(True)
        axes.grid(visible=True, color=LIGHT.grid, lw=0.9)
    return figure, grid


def _panel_title(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=11, color=LIGHT.text, loc="left", fontweight="bold", pad=8)


def _log_scale(axes: Any, number_format: str) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(number_format)
    axes.yaxis.set_minor_locator(require("matplotlib.ticker", "experiments").NullLocator())


def _share_vertical_axes(grid: Any) -> None:
    """Give all panels of a row the same vertical axis, and write it once."""
    for row in grid:
        low = min(axes.get_ylim()[0] for axes in row)
        high = max(axes.get_ylim()[1] for axes in row)
        for number, axes in enumerate(row):
            axes.set_ylim(low, high)
            axes.tick_params(labelleft=number == 0)
