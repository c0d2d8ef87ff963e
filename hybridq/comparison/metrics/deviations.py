"""The deviation of every single output from the reference."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hybridq.comparison.backend_result import BackendResult
from hybridq.comparison.deviations import Z95, Deviations, deviations
from hybridq.comparison.estimates import Estimate
from hybridq.comparison.evidence import Evidence
from hybridq.comparison.measuring import Array
from hybridq.comparison.metrics._metric import AbstractMetric
from hybridq.comparison.notation import DASH, signed, small_p
from hybridq.comparison.plots import colour_of, set_title
from hybridq.comparison.subjects import Subject
from hybridq.comparison.verdicts import LEVEL, Kind
from hybridq.study.plots import new_figure
from hybridq.study.sections import Column, Drawing, Entry, Table
from hybridq.study.theme import Theme, style_axes

__all__ = ["OutputDeviations"]

_OUTLIERS = 12  # rows of the table
_MOST_NAMED = 16  # outputs whose names fit below the plot
_MOST_ANNOTATED = 8  # sets of angles whose names fit above it


class OutputDeviations(AbstractMetric[Deviations]):
    """The observables of each circuit minus those of the reference, and a test of all of them."""

    name = "deviations"
    title = "rms deviation"
    order = 10
    has_panel = False
    console = ""
    explanation = (
        "**Deviation**: what a backend measured minus what the reference gives, with a 95 % "
        "interval from its own shots. Of many intervals, one in twenty misses even without a "
        "difference; diamonds mark deviations that stay significant when this is taken into "
        "account (Holm's method, 5 % for all together).",
        "**The test against shot noise**: the sum of squared deviations in units of the noise that "
        "shots make (χ²), over all outputs, with the correlations of outputs that share shots. A "
        "small p says that shots do not explain the deviations. The verdict looks at the single "
        "output that deviates most and at the distributions, too, with 5 % for the three tests and "
        "all backends together.",
    )

    def compute(self, evidence: Evidence) -> Deviations:
        """Compute the deviations and the test against shot noise."""
        return deviations(evidence.pair)

    def estimate(self, value: Deviations) -> Estimate:
        """Return the root mean square deviation of all outputs."""
        return Estimate(_rms(value.values))

    def p_values(self, value: Deviations, *, mitigated: bool) -> tuple[float, ...]:
        """Return the tests of all outputs together, and of the one that deviates most."""
        del mitigated
        return () if value.p is None else (value.p, float(value.p_holm.min()))

    def differs(self, value: Deviations) -> bool:
        """Tell whether an output deviates by more than rounding."""
        return not value.is_rounding

    def sentences(self, value: Deviations, kind: Kind, subject: Subject) -> tuple[str, ...]:
        """Say whether outputs deviate, and which deviates most."""
        if kind == "equal":
            return ("It gives what the reference gives, to rounding.",)
        largest = f"The largest deviation is {_largest(value, subject)}."
        if kind == "different" or value.chi2 is None or value.p is None:
            return (f"Both are exact, and they differ. {largest}",)
        chi2 = f"χ² = {value.chi2:.0f} for {value.degrees} degrees of freedom"
        test = f"{chi2}, {small_p(value.p)}"
        if kind == "within shot noise":
            return (f"No deviation beyond shot noise was found ({test}).",)
        count = f"{value.n_significant} of {value.values.size} outputs"
        return (
            f"It deviates by more than shot noise ({test}). "
            f"{count} deviate significantly one by one.",
            largest,
        )

    def columns(self) -> tuple[str, ...]:
        """Return the headings: the largest deviation, the root mean square, and the test."""
        return ("largest deviation", "rms deviation", "test against shot noise")

    def cells(self, value: Deviations) -> tuple[Entry, ...]:
        """Return the largest deviation, the root mean square, and the test."""
        rms = self.write(_rms(value.values))
        if value.p is None:
            return (_deviation(value, *value.largest), Entry(rms), Entry("exact"))
        noise = f"shots: {self.write(_rms(value.errors))}"
        chi2 = f"χ² = {value.chi2:.1f}\n{value.degrees} degrees"
        return (
            _deviation(value, *value.largest),
            Entry(rms, noise),
            Entry(small_p(value.p), chi2),
        )

    def figures(self, subject: Subject, results: Sequence[BackendResult]) -> tuple[Drawing, ...]:
        """Return a plot of every output."""
        caption = (
            "Each dot is one output of one circuit: its deviation from the reference, with a 95 % "
            "interval from the shots. Diamonds are significant even among so many."
        )
        values = {one.label: one[self.name] for one in results[1:]}
        return (Drawing("Every output", lambda theme: _draw(subject, values, theme), caption),)

    def details(self, subject: Subject, results: Sequence[BackendResult]) -> tuple[Table, ...]:
        """Return a table of the single outputs that deviate most, of all backends together."""
        ranked = []
        for one in results[1:]:
            value: Deviations = one[self.name]
            if value.is_rounding:
                continue
            strength = np.nan_to_num(np.abs(value.z), nan=0.0).ravel()
            by_size = np.abs(value.values).ravel().argsort()[::-1]
            order = by_size[np.argsort(-strength[by_size], kind="stable")][:_OUTLIERS]
            ranked += [
                (strength[index], _outlier(subject, one.label, value, int(index)))
                for index in order
            ]
        strongest = sorted(ranked, key=lambda pair: -pair[0])[:_OUTLIERS]
        rows = tuple(row for _, row in strongest)
        titles = ("output", "backend", "deviation", "z", "p, Holm")
        caption = (
            f"The {len(rows)} outputs that deviate most in units of the noise of the shots. All "
            "are in compare.json."
        )
        columns = tuple(map(Column, titles))
        return (Table("The outputs that deviate most", columns, rows, caption),)

    def to_json(self, value: Deviations | None) -> dict[str, Any]:
        """Return all deviations with their errors and tests."""
        if value is None:
            return {}
        numbers = {
            "values": value.values,
            "standard_errors": value.errors,
            "z": _or_null(value.z),
            "p_holm": _or_null(value.p_holm),
            "chi2": value.chi2,
            "degrees_of_freedom": value.degrees,
            "p": value.p,
        }
        return {self.name: numbers}


def _rms(values: Array) -> float:
    return float(np.sqrt((values**2).mean()))


def _deviation(value: Deviations, point: int, observable: int) -> Entry:
    error = Z95 * float(value.errors[point, observable])
    note = f"± {error:.4f}" if error else "exact"
    return Entry(signed(float(value.values[point, observable]), 4), note)


def _largest(value: Deviations, subject: Subject) -> str:
    point, observable = value.largest
    error = Z95 * float(value.errors[point, observable])
    interval = f" ± {error:.3f}" if error else ""
    where = f" at {subject.points[point]}" if subject.points[point] else ""
    deviation = signed(float(value.values[point, observable]), 3)
    return f"{deviation}{interval} in {subject.observables[observable]}{where}"


def _outlier(subject: Subject, label: str, value: Deviations, index: int) -> tuple[Entry, ...]:
    point, observable = divmod(index, len(subject.observables))
    name = Entry(subject.observables[observable], subject.points[point])
    z, p = float(value.z[point, observable]), float(value.p_holm[point, observable])
    if np.isnan(z):
        test = (Entry(DASH), Entry(DASH))
    else:
        written = small_p(p).removeprefix("p ").removeprefix("= ")
        test = (Entry(signed(z, 1)), Entry(written))
    return (name, Entry(label), _deviation(value, point, observable), *test)


def _or_null(values: Array) -> list[Any]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in values]


def _draw(subject: Subject, values: dict[str, Deviations], theme: Theme) -> Any:
    """Draw every output's deviation with its 95 % interval, one panel for each backend."""
    figure = new_figure(theme, 0.75 + 1.75 * len(values))
    rows = figure.subplots(len(values), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for number, (axes, (label, value)) in enumerate(zip(rows, values.items(), strict=True)):
        style_axes(axes, theme)
        axes.axhline(0, color=theme.muted, lw=1, zorder=1)
        _draw_boundaries(axes, subject, theme)
        _draw_outputs(axes, value, colour_of(theme, number), theme)
        set_title(axes, label, theme, pad=6)
        axes.grid(visible=False, axis="x")
    rows[-1].set_xlabel("output: the observables of each circuit, circuit after circuit")
    names = [f"{name} {point}".strip() for point in subject.points for name in subject.observables]
    if len(names) <= _MOST_NAMED:
        is_long = len(names) > 8
        style = {"rotation": 40 if is_long else 0, "ha": "right" if is_long else "center"}
        rows[-1].set_xticks(range(len(names)), names, **style)
    figure.supylabel("deviation from the reference", fontsize=10, color=theme.muted)
    return figure


def _draw_outputs(axes: Any, value: Deviations, colour: str, theme: Theme) -> None:
    flat = value.values.ravel()
    errors = Z95 * value.errors.ravel()
    x = np.arange(flat.size)
    axes.vlines(x, flat - errors, flat + errors, color=colour, lw=1.1, alpha=0.45, zorder=2)
    axes.plot(x, flat, ls="", marker="o", ms=3, color=colour, mew=0, zorder=3)
    beyond = np.nan_to_num(value.p_holm.ravel(), nan=1.0) < LEVEL
    diamonds = {"ls": "", "marker": "D", "ms": 6.5, "mec": theme.text, "mew": 1, "zorder": 4}
    axes.plot(x[beyond], flat[beyond], color=colour, **diamonds)


def _draw_boundaries(axes: Any, subject: Subject, theme: Theme) -> None:
    """Mark where the circuits of one set of angles end."""
    if subject.trained is None:
        return
    names = subject.trained.set_names
    width = len(subject.points) // len(names) * len(subject.observables)
    for number, name in enumerate(names):
        if number:
            boundary = {"color": theme.muted, "lw": 0.8, "ls": (0, (2, 3)), "zorder": 1}
            axes.axvline(number * width - 0.5, **boundary)
        if len(names) <= _MOST_ANNOTATED:
            place = {"xy": (number * width, 1), "xycoords": axes.get_xaxis_transform()}
            offset = {"xytext": (0, -3), "textcoords": "offset points"}
            style = {"va": "top", "fontsize": 8.5, "color": theme.muted}
            axes.annotate(name, **place, **offset, **style)
