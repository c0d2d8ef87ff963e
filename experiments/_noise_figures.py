"""Pictures of noise: what it does to accuracy and to Phi, and to each harmonic of Phi."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hybridq.errors import require
from hybridq.study.theme import LIGHT

__all__ = ["harmonics_figure", "levels_figure"]

_TITLES = {
    "depolarizing": ("depolarising", "probability p after each gate"),
    "damping": ("amplitude damping", "probability g after each gate"),
    "readout_error": ("readout error", "probability of a wrong bit"),
    "shots": ("shots", "shots per circuit"),
}
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

Rows = list[dict[str, Any]]
Values = Callable[[dict[str, Any]], npt.NDArray[np.float64]]


def levels_figure(found: dict[str, Any]) -> Any:
    """Accuracy and the error of Phi by the level of each noise, and by the shots; mean and deviation over the runs.

    Args:
        found: The summary of `experiments.noise`.
    """
    baseline = np.array([run["accuracy"] for run in found["runs"]])
    control = 100 * float(
        np.mean([run["without_circuits"]["accuracy"] for run in found["runs"]] - baseline)
    )
    figure, grid = _figure(
        "What noise does to a trained classifier, and to its Φ", len(baseline), (13.5, 7.0), (2, 4)
    )
    rows: tuple[Values, Values] = (
        lambda row: 100 * (np.array(row["accuracy"]) - baseline),
        lambda row: 100 * np.array(row["phi_error"]),
    )
    for column, noise in enumerate(_TITLES):
        for axes, values in zip(grid[:, column], rows, strict=True):
            _shots(axes, found["settings"], values) if noise == "shots" else _levels(
                axes, found["settings"], noise, values
            )
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:,g}")
        grid[0, column].axhline(
            control, color=LIGHT.muted, lw=1, ls=(0, (2, 3)), zorder=1, label="without circuits"
        )
        grid[0, column].set_title(
            _TITLES[noise][0], fontsize=11, color=LIGHT.text, loc="left", fontweight="bold", pad=8
        )
        _log_scale(grid[1, column], "{x:g} %")
        grid[1, column].set_xlabel(_TITLES[noise][1])
    grid[0, 0].set_ylabel("change of test accuracy, points")
    grid[1, 0].set_ylabel("error of Φ, rms over rms of Φ")
    _share(grid)
    _legend(figure, grid.flatten())
    return figure


def harmonics_figure(found: dict[str, Any]) -> Any:
    """What is left of each harmonic of Phi, exactly.

    Args:
        found: The summary of `experiments.noise`.
    """
    title = "What noise of the gates leaves of each harmonic of Φ"
    figure, grid = _figure(title, len(found["runs"]), (10.5, 4.6), (1, 2))
    for axes, noise in zip(grid[0], ("depolarizing", "damping"), strict=True):
        chosen = [row for row in _select(found["settings"], noise, None, False) if row["level"] > 0]
        for number, row in enumerate(chosen):
            left = np.array(row["harmonics"])  # (runs, D)
            look = {
                "color": LIGHT.series[number],
                "ls": _DASHES[number % len(_DASHES)],
                "marker": "osD^vP"[number % 6],
            }
            _line(axes, np.arange(1, left.shape[1] + 1), left, f"{row['level']:g}", look)
        axes.set_title(
            _TITLES[noise][0], fontsize=11, color=LIGHT.text, loc="left", fontweight="bold", pad=8
        )
        axes.set_xlabel("harmonic")
        _log_scale(axes, "{x:g}")
        axes.set_ylim(1e-4, 1.6)
    grid[0, 0].set_ylabel("amplitude left, noiseless = 1")
    grid[0, 1].tick_params(labelleft=False)
    _legend(figure, grid.flatten(), "probability after each gate")
    return figure


def _levels(axes: Any, rows: Rows, noise: str, values: Values) -> None:
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
            table = np.stack([values(row) for row in chosen], axis=1)  # (runs, levels)
            _line(
                axes,
                [row["level"] for row in chosen],
                table,
                label + ", mitigated" * mitigated,
                look,
            )


def _shots(axes: Any, rows: Rows, values: Values) -> None:
    levels = sorted({row["level"] for row in rows if row["shots"] == 16})
    for number, (level, mitigated) in enumerate(
        [(level, False) for level in levels] + [(levels[-1], True)]
    ):
        chosen = [
            r for r in rows if r["shots"] and (r["level"], r["mitigated"]) == (level, mitigated)
        ]
        chosen = sorted(
            (r for r in chosen if r["noise"] == "readout_error"), key=lambda row: int(row["shots"])
        )
        label = f"bits wrong {100 * level:g} %" + ", mitigated" * mitigated
        look = {
            "color": LIGHT.series[(5, 6, 7)[number]],
            "ls": _DASHES[number],
            "marker": "vPX"[number],
        }
        table = np.stack([values(row) for row in chosen], axis=1)
        _line(axes, [row["shots"] for row in chosen], table, label, look)


def _select(rows: Rows, noise: str, shots: int | None, mitigated: bool) -> Rows:
    chosen = [
        r for r in rows if (r["noise"], r["shots"], r["mitigated"]) == (noise, shots, mitigated)
    ]
    return sorted(chosen, key=lambda row: float(row["level"]))


def _line(
    axes: Any,
    x: Sequence[float] | Any,
    table: npt.NDArray[np.float64],
    label: str,
    look: dict[str, Any],
) -> None:
    """The mean of the runs, and a band of one standard deviation either way."""
    mean = table.mean(0)
    if len(table) > 1:
        spread = table.std(0, ddof=1)
        axes.fill_between(
            x, mean - spread, mean + spread, color=look["color"], alpha=0.14, lw=0, zorder=2
        )
    axes.plot(x, mean, lw=1.9, ms=5, mec="white", mew=0.8, label=label, zorder=3, **look)


def _figure(
    title: str, n_runs: int, size: tuple[float, float], shape: tuple[int, int]
) -> tuple[Any, Any]:
    figure = require("matplotlib.figure", "experiments").Figure(
        figsize=size, layout="constrained", facecolor="white"
    )
    figure.get_layout_engine().set(w_pad=0.09, h_pad=0.08, wspace=0.03)
    runs = f"{n_runs} trained runs, mean ± standard deviation" if n_runs > 1 else "one trained run"
    figure.suptitle(
        f"{title}  ({runs})", fontsize=13, color=LIGHT.text, fontweight="bold", x=0.012, ha="left"
    )
    grid = figure.subplots(*shape, squeeze=False)
    for axes in grid.flatten():
        axes.set_axisbelow(True)
        axes.grid(visible=True, color=LIGHT.grid, lw=0.9)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(LIGHT.grid)
        axes.tick_params(which="both", colors=LIGHT.muted, length=0, labelsize=9.5, pad=5)
        axes.xaxis.label.set(color=LIGHT.muted, fontsize=10)
        axes.yaxis.label.set(color=LIGHT.muted, fontsize=10)
    return figure, grid


def _log_scale(axes: Any, form: str) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(form)
    axes.yaxis.set_minor_locator(require("matplotlib.ticker", "experiments").NullLocator())


def _share(grid: Any) -> None:
    """The same vertical axis along each row."""
    for row in grid:
        low, high = min(axes.get_ylim()[0] for axes in row), max(axes.get_ylim()[1] for axes in row)
        for number, axes in enumerate(row):
            axes.set_ylim(low, high)
            axes.tick_params(labelleft=number == 0)


def _legend(figure: Any, all_axes: Sequence[Any], title: str | None = None) -> None:
    found = {
        label: line
        for axes in all_axes
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    legend = figure.legend(
        list(found.values()),
        list(found),
        title=title,
        loc="outside lower left",
        ncols=6,
        frameon=False,
        fontsize=10,
        labelcolor=LIGHT.text,
        handlelength=3.2,
        columnspacing=2,
    )
    legend.get_title().set(color=LIGHT.muted, fontsize=10)
