"""The tables of a comparison, as text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hybridq.comparison.deviations import Z95
from hybridq.comparison.distances import Distance
from hybridq.comparison.result import BackendResult, Comparison
from hybridq.comparison.verdicts import percent, signed, small_p

__all__ = ["Cell", "Table", "cost_table", "model_table", "outlier_table", "summary_table"]

Cell = tuple[str, str]  # the number, and the small print
_NONE: Cell = ("\u2013", "")
_OUTLIERS = 12


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        anchor: Its name on the page.
        title: The heading.
        columns: The heading of each column.
        rows: The cells; the first names the row.
        caption: What to know of it.
    """

    anchor: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""


def summary_table(comparison: Comparison) -> Table:
    """Deviations and distances."""
    columns: tuple[str, ...] = (
        "backend",
        "largest deviation",
        "rms deviation",
        "test against shot noise",
        "total variation",
        "Hellinger",
    )
    trained = comparison.subject.trained
    if trained is not None:
        columns += ("error of Φ, rms",)
    rows = tuple(_summary(one, trained is not None) for one in comparison.others)
    caption = (
        "In small print the 95 % intervals: of the largest deviation, and of what is left of each distance without the "
        "shots. After `shots`: what shots alone give on average."
    )
    return Table("numbers", "The numbers", columns, rows, caption)


def model_table(comparison: Comparison) -> Table:
    """Accuracy and logits."""
    columns = (
        "backend",
        "accuracy",
        "difference",
        "changed",
        "McNemar",
        "logits' error, rms",
        "largest",
    )
    rows = []
    for one in comparison.results:
        paired = one.paired
        if paired is None:
            continue
        head = _name(one)
        accuracy = (percent(paired.accuracy, 2), _interval(paired.interval, 100, 1, " %"))
        if one is comparison.reference:
            rows.append((head, accuracy, *[_NONE] * 5))
            continue
        difference = (
            f"{signed(100 * paired.difference, 2)} points",
            _interval(paired.difference_interval, 100, 2),
        )
        changed = (f"{paired.changed}", f"{paired.lost} lost\n{paired.gained} gained")
        alone = "" if paired.rms_alone is None else f"\nshots: {paired.rms_alone.mean:.4f}"
        rms = (f"{paired.rms:.4f}", f"{_interval(paired.rms_interval, 1, 4)}{alone}")
        rows.append(
            (
                head,
                accuracy,
                difference,
                changed,
                (small_p(paired.p), ""),
                rms,
                (f"{paired.largest:.4f}", ""),
            )
        )
    caption = (
        "Accuracy with Wilson's interval for new examples; the difference is of the same examples (Agresti and Min's "
        "interval for matched pairs, McNemar's exact test), so it is known far better than either accuracy. "
        "After `shots`: what shots alone give."
    )
    return Table("model", "Accuracy and logits", columns, tuple(rows), caption)


def outlier_table(comparison: Comparison) -> Table:
    """The single outputs that deviate most."""
    columns = ("output", "backend", "deviation", "z", "p, Holm")
    found = []
    for one in comparison.others:
        if one.deviations is None or one.deviations.is_rounding:
            continue
        order = np.abs(one.deviations.values).ravel().argsort()[::-1]
        strength = np.nan_to_num(np.abs(one.deviations.z), nan=0.0).ravel()
        order = order[np.argsort(-strength[order], kind="stable")][:_OUTLIERS]
        found += [(strength[index], _outlier(comparison, one, int(index))) for index in order]
    rows = tuple(row for _, row in sorted(found, key=lambda pair: -pair[0])[:_OUTLIERS])
    caption = f"The {len(rows)} outputs that deviate most in units of the noise of the shots. All are in compare.json."
    return Table("outliers", "The outputs that deviate most", columns, rows, caption)


def cost_table(comparison: Comparison) -> Table:
    """Circuits, jobs, seconds, QPU seconds and money."""
    price = comparison.settings["price_per_minute"]
    columns: tuple[str, ...] = (
        "backend",
        "circuits",
        "shots",
        "jobs",
        "transpilations",
        "seconds",
        "QPU seconds, estimated",
        "QPU seconds, charged",
    )
    if price is not None:
        columns += ("cost",)
    rows = tuple(_cost(one, price) for one in comparison.results)
    caption = (
        "Of a simulated device the estimate says what the real one would take; nothing is charged for it. Records that were "
        "stored earlier show what they took then."
    )
    if price is not None:
        caption += f" The cost is at {price:g} per minute of QPU time: as charged, and in brackets what it would be."
    return Table("cost", "What it took", columns, rows, caption)


def _summary(one: BackendResult, with_phi: bool) -> tuple[Cell, ...]:
    found = one.deviations
    assert found is not None  # noqa: S101
    point, observable = found.largest
    error = Z95 * float(found.errors[point, observable])
    largest = (
        signed(float(found.values[point, observable]), 4),
        f"± {error:.4f}" if error else "exact",
    )
    rms = f"{np.sqrt((found.values**2).mean()):.4f}"
    noise = f"shots: {np.sqrt((found.errors**2).mean()):.4f}" if found.p is not None else ""
    test = (
        ("exact", "")
        if found.p is None
        else (small_p(found.p), f"χ² = {found.chi2:.1f}\n{found.degrees} degrees")
    )
    cells = (
        _name(one),
        largest,
        (rms, noise),
        test,
        _distance(one.total_variation),
        _distance(one.hellinger),
    )
    if not with_phi:
        return cells
    worst = max(one.phi, key=lambda distance: distance.value)
    value, detail = _distance(worst)
    return (*cells, (value, f"{worst.name}\n{detail}" if detail else worst.name))


def _outlier(comparison: Comparison, one: BackendResult, index: int) -> tuple[Cell, ...]:
    found = one.deviations
    assert found is not None  # noqa: S101
    point, observable = divmod(index, len(comparison.subject.observables))
    error = Z95 * float(found.errors[point, observable])
    deviation = (
        signed(float(found.values[point, observable]), 4),
        f"± {error:.4f}" if error else "exact",
    )
    name = (comparison.subject.observables[observable], comparison.subject.points[point])
    z, p = float(found.z[point, observable]), float(found.p_holm[point, observable])
    test = (
        (_NONE, _NONE)
        if np.isnan(z)
        else ((signed(z, 1), ""), (small_p(p).removeprefix("p ").removeprefix("= "), ""))
    )
    return (name, (one.label, ""), deviation, *test)


def _cost(one: BackendResult, price: float | None) -> tuple[Cell, ...]:
    cost, shots = one.measurement.cost, one.measurement.shots
    cells: list[Cell] = [
        _name(one),
        (f"{cost.circuits:,}", ""),
        ("exact" if shots is None else f"{shots:,}", ""),
    ]
    cells += [(_number(value, 0), "") for value in (cost.jobs, cost.transpilations)]
    cells += [(_number(cost.seconds, 2), "")]
    cells += [(_number(value, 2), "") for value in (cost.estimated_qpu_seconds, cost.qpu_seconds)]
    if price is not None:
        estimate = cost.estimated_qpu_seconds
        would = "" if estimate is None else f"({price * estimate / 60:.2f})"
        cells.append((f"{price * (cost.qpu_seconds or 0.0) / 60:.2f}", would))
    return tuple(cells)


def _name(one: BackendResult) -> Cell:
    return one.label, f"stored in {one.stored}" if one.stored else ""


def _distance(distance: Distance | None) -> Cell:
    if distance is None:
        return _NONE
    if distance.interval is None or distance.alone is None:
        return f"{distance.value:.4f}", ""
    return (
        f"{distance.value:.4f}",
        f"{_interval(distance.interval, 1, 4)}\nshots: {distance.alone.mean:.4f}",
    )


def _interval(bounds: Sequence[float], scale: float, digits: int, unit: str = "") -> str:
    low, high = (f"{scale * bound:.{digits}f}".replace("-", "\u2212") for bound in bounds)
    return f"{low} to {high}{unit}"


def _number(value: float | None, digits: int) -> str:
    return "\u2013" if value is None else f"{value:,.{digits}f}"
